import json
import os
import pathlib
import platform
import subprocess
import sys

import pytest

from diffax import allocator

ROOT = pathlib.Path(__file__).parents[1]
LINUX = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
# Prints what became of it, before and after the restart.
PROGRAM = """
import json, os, sys
sys.path.insert(0, {root!r})
from diffax import allocator
allocator.restart(sys.argv)
print(json.dumps([os.getpid(), sys.argv[1:], sys.flags.dev_mode, allocator.describe()]))
"""


def run(tmp_path, *arguments, options=(), **environment):
    """The process ID of a program that restarts itself, and what it prints: its own, arguments, -X dev, settings."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(root=str(ROOT)))
    command = [sys.executable, *options, str(program), *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return process.pid, json.loads(out)


@pytest.mark.skipif(not LINUX, reason="nothing is restarted there")
def test_a_command_is_restarted_once_in_the_same_process_with_the_same_arguments(tmp_path):
    pid, (own, arguments, dev_mode, settings) = run(tmp_path, "--a", "b c", options=("-X", "dev"))
    assert (own, arguments, dev_mode) == (pid, ["--a", "b c"], True)
    expected = {name: os.path.basename(value) for name, value in allocator.variables({}).items()}
    assert settings == expected != {}


@pytest.mark.skipif(allocator._mimalloc() is None, reason="mimalloc is not installed")
def test_mimalloc_is_loaded_and_keeps_its_memory(tmp_path):
    """MIMALLOC_SHOW_STATS has the library itself speak."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(root=str(ROOT)))
    command, environment = [sys.executable, str(program)], {"MIMALLOC_SHOW_STATS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "mimalloc" in json.loads(done.stdout)[3]["LD_PRELOAD"] and "peak" in done.stderr


@pytest.mark.skipif(not LINUX, reason="other C libraries have other settings")
@pytest.mark.parametrize("with_mimalloc", [False, True])
def test_memory_that_was_freed_is_not_mapped_anew(monkeypatch, with_mimalloc):
    """Page faults of writing 64 MB allocated by malloc, freed and allocated again, as XLA does with its temporaries."""
    if with_mimalloc and allocator._mimalloc() is None:
        pytest.skip("mimalloc is not installed")
    code = """
import ctypes, resource
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    if not with_mimalloc:
        monkeypatch.setattr(allocator, "_mimalloc", lambda: None)
    faults = [
        int(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
        for environment in ({}, allocator.variables({}))
    ]
    assert faults[0] > 10_000 and faults[1] < 100


@pytest.mark.skipif(not LINUX, reason="nothing is restarted there")
@pytest.mark.parametrize(
    ("arguments", "options", "environment"),
    [
        ((allocator.OFF,), (), {}),
        (("--help",), (), {}),
        ((), ("-m", "cProfile", "-o", os.devnull), {}),
        ((), (), {"GLIBC_TUNABLES": "glibc.malloc.perturb=0"}),
        ((), (), {"LD_PRELOAD": ""}),
    ],
    ids=["off", "help", "under a profiler", "own tunables", "own allocator"],
)
def test_what_is_not_restarted(tmp_path, arguments, options, environment):
    _, (_, _, _, settings) = run(tmp_path, *arguments, options=options, **environment)
    assert settings == environment


def test_other_tunables_stay_and_other_systems_have_none(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(allocator, "_mimalloc", lambda: None)
    both = allocator.variables({"GLIBC_TUNABLES": "glibc.rtld.nns=4"})["GLIBC_TUNABLES"]
    assert both.startswith("glibc.rtld.nns=4:glibc.malloc.")
    monkeypatch.setattr(allocator, "_mimalloc", lambda: "/lib/libmimalloc.so")
    kept = {"LD_PRELOAD": "/lib/libmimalloc.so", "MIMALLOC_PURGE_DELAY": "-1"}
    assert allocator.variables({"GLIBC_TUNABLES": "glibc.rtld.nns=4"}) == kept
    assert allocator.variables({"MIMALLOC_PURGE_DELAY": "5"})["MIMALLOC_PURGE_DELAY"] == "5"
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))  # musl
    assert allocator.variables({}) == {}
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert allocator.variables({}) == {}
