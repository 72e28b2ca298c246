import json
import os
import pathlib
import platform
import runpy
import subprocess
import sys
import warnings

import pytest

from diffax import allocator, devices

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
    assert settings == allocator.variables({}) != {}


@pytest.mark.skipif(not LINUX, reason="other C libraries have other settings")
def test_memory_that_was_freed_is_not_mapped_anew_unless_it_is_given_back():
    """Page faults of writing 64 MB allocated by malloc, freed and allocated again, as XLA does with its temporaries."""
    code = f"""
import ctypes, resource, sys
sys.path.insert(0, {str(ROOT)!r})
from diffax import allocator
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for number in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    free(block)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    if number == 2:
        allocator.give_back()
"""

    def faults(environment):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
        return [int(line) for line in done.stdout.split()[1:]]

    assert min(faults({})) > 10_000
    again, once_more, given_back = faults(allocator.variables({}))
    assert max(again, once_more) < 100 and given_back > 10_000


@pytest.mark.skipif(not LINUX, reason="other C libraries have other settings")
def test_free_memory_in_pieces_is_set_aside_and_takes_none():
    """40,000 pieces of 1 to 30 kB, of which every second one is freed, as after compiling."""
    code = f"""
import ctypes, sys
sys.path.insert(0, {str(ROOT)!r})
from diffax import allocator
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes, library.free.argtypes = (
    ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p])
library.mallinfo2.restype = allocator._MallInfo
pieces = []
for number in range(40_000):
    size = 1_000 + number * 7_919 % 29_000
    pieces.append(library.malloc(size))
    ctypes.memset(pieces[-1], 1, size)
for piece in pieces[::2]:
    library.free(piece)

def free():
    info = library.mallinfo2()
    return info.fordblks - info.keepcost

before, resident = free(), allocator.resident()
allocator.set_aside()
print(before, free(), resident - allocator.resident())
print(all(ctypes.string_at(piece, 1_000) == bytes([1]) * 1_000 for piece in pieces[1::2]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=allocator.variables({}), capture_output=True, text=True, check=True
    )
    numbers, unharmed = done.stdout.splitlines()
    before, after, given_back = map(int, numbers.split())
    assert before > 2e8 and after < before / 5 and given_back > 1e8 and unharmed == "True"


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


@pytest.mark.parametrize("accelerator", [False, True])
def test_launch_restarts_where_the_cpu_computes(monkeypatch, accelerator):
    restarts = []
    monkeypatch.setattr(allocator, "restart", restarts.append)
    monkeypatch.setattr(devices, "may_use_accelerator", lambda: accelerator)
    monkeypatch.setattr(devices, "configure", lambda: False)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # launch.py sets another
    monkeypatch.setattr(sys, "argv", ["launch.py", "--no_such_flag"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "launch.py"), run_name="__main__")
    assert end.value.code == 2
    assert restarts == ([] if accelerator else [["launch.py", "--no_such_flag"]])


def test_other_tunables_stay_and_other_systems_have_none(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    both = allocator.variables({"GLIBC_TUNABLES": "glibc.rtld.nns=4"})["GLIBC_TUNABLES"]
    assert both.startswith("glibc.rtld.nns=4:glibc.malloc.")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))  # musl
    assert allocator.variables({}) == {}
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert allocator.variables({}) == {}


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="only Linux tells")
def test_resident_memory_is_what_was_touched():
    before = allocator.resident()
    touched = bytearray(b"x") * 200_000_000
    assert 0.9 * len(touched) < allocator.resident() - before < 1.5 * len(touched)
