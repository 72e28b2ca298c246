import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import optax
import pytest

from diffax import devices

FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"


def run(code, **environment):
    """What `code` prints in a new process without the flags and caches of this one; None unsets a variable."""
    controlled = ("XLA_FLAGS", "JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")
    inherited = {name: value for name, value in os.environ.items() if name not in controlled}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | {"JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip(), result.stderr


def test_flag_is_added_to_the_users_and_accepted_by_xla():
    code = """
import os, sys
from diffax import devices
print(devices.configure(), devices.configure(), 'jax' in sys.modules, os.environ['XLA_FLAGS'])
import jax
print(len(jax.devices()))
"""
    out, _ = run(code, XLA_FLAGS="--xla_force_host_platform_device_count=1")
    assert out.splitlines() == [f"True False False --xla_force_host_platform_device_count=1 {FLAG}", "1"]


def test_several_cpu_devices_do_without_the_flag():
    """With it they compute wrong values (experiments/sample_sets)."""
    code = """
import os
from diffax import devices
print(devices.configure(), os.environ.get("XLA_FLAGS", ""))
devices.use_cpu_devices(1)
print(os.environ.get('XLA_FLAGS', ''))
devices.use_cpu_devices(2)
print('flags:', os.environ.get('XLA_FLAGS', ''))
import jax
print(len(jax.devices()))
"""
    out, _ = run(code)
    assert out.splitlines() == [f"True {FLAG}", FLAG, "flags: ", "2"]
    two = "--xla_force_host_platform_device_count=2"
    assert run(code, XLA_FLAGS=two)[0].splitlines()[0] == f"False {two}"
    assert run(code, JAX_NUM_CPU_DEVICES="2")[0].splitlines()[0] == "False "


def test_too_late_warns_and_changes_nothing(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(devices, "_accepts", lambda flag: True)
    jax.devices()
    with pytest.warns(UserWarning, match=f"too late for the compiler flag {FLAG.partition('=')[0]}, JAX has started"):
        assert not devices.configure()
    assert "XLA_FLAGS" not in os.environ


@pytest.mark.parametrize(
    "flags", ["--xla_cpu_experimental_ynn_fusion_type=", "--a=1 --xla_cpu_experimental_ynn_fusion_type=x", "flags.txt"]
)
def test_what_the_user_set_stays(monkeypatch, flags):
    monkeypatch.setenv("XLA_FLAGS", flags)
    monkeypatch.setattr(devices, "_backend_started", lambda: False)
    assert not devices.configure()
    assert os.environ["XLA_FLAGS"] == flags


@pytest.fixture
def trial(monkeypatch, tmp_path):
    """configure() as in a new process, with a Python that is a shell script; (configure, the lines that it logged)."""
    log, python = tmp_path / "log", tmp_path / "python"
    monkeypatch.setattr(devices, "_backend_started", lambda: False)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")

    def configure(behaviour, version="1.2.3"):
        python.write_text(f'#!/bin/sh\necho "$JAX_PLATFORMS $XLA_FLAGS" >> {log}\n{behaviour}\n')
        python.chmod(0o755)
        monkeypatch.setattr(devices, "_version", lambda package: version)
        monkeypatch.setenv("XLA_FLAGS", "--a=1")
        added = devices.configure()
        assert os.environ["XLA_FLAGS"] == (f"--a=1 {FLAG}" if added else "--a=1")
        return added

    return configure, lambda: log.read_text().splitlines() if log.exists() else []


REFUSES = "echo 'Unknown flags in XLA_FLAGS: --xla_cpu' >&2; kill -ABRT $$"


def test_whether_jaxlib_accepts_the_flag_is_tried_once_for_each_version(trial):
    configure, log = trial
    for _ in range(3):
        assert configure("exit 0")
    assert log() == [f"cpu {FLAG}"]  # of the user's flags none, which may be wrong
    for _ in range(3):
        assert not configure(REFUSES, "1.2.4")
    assert len(log()) == 2
    assert configure(REFUSES) and not configure("exit 0", "1.2.4") and len(log()) == 2
    assert not configure("exit 0", None) and len(log()) == 2


@pytest.mark.parametrize("behaviour", ["exit 1", "kill -KILL $$", "exec sleep 60"])
def test_a_trial_that_failed_for_another_reason_is_repeated(trial, monkeypatch, behaviour):
    configure, log = trial
    monkeypatch.setattr(devices, "_TRIAL_SECONDS", 0.5)
    assert not configure(behaviour) and not configure(behaviour)
    assert len(log()) == 2
    monkeypatch.setattr(devices, "_TRIAL_SECONDS", 60)
    assert configure("exit 0") and configure(behaviour) and len(log()) == 3


def test_without_a_cache_or_a_python_nothing_fails(trial, monkeypatch, tmp_path):
    configure, log = trial
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert configure("exit 0") and configure("exit 0") and len(log()) == 2
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    assert not configure("exit 0") and len(log()) == 2


def test_xla_refuses_an_unknown_flag_as_the_trial_expects(monkeypatch):
    assert devices._try_flag("--xla_no_such_flag=1") == "refused"


def test_accelerator_plugin_gets_no_flag_unless_the_cpu_is_asked_for(monkeypatch):
    monkeypatch.setattr(devices, "_backend_started", lambda: False)
    monkeypatch.setattr(devices, "_accepts", lambda flag: True)
    monkeypatch.setattr(devices.importlib.metadata, "entry_points", lambda group: ["cuda"])
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert not devices.configure()
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert devices.configure()
    assert os.environ["XLA_FLAGS"] == FLAG


def test_bfloat16_has_a_flag_of_its_own_where_the_processor_computes_it(monkeypatch):
    monkeypatch.setattr(devices, "_backend_started", lambda: False)
    monkeypatch.setattr(devices, "_accepts", lambda flag: True)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", "--a=1")
    monkeypatch.setattr(devices, "_computes_bfloat16", lambda: False)
    assert not devices.configure_bfloat16()
    monkeypatch.setattr(devices, "_computes_bfloat16", lambda: True)
    assert devices.configure_bfloat16() and not devices.configure_bfloat16()
    assert devices.configure()
    assert os.environ["XLA_FLAGS"] == f"--a=1 {devices.BFLOAT16_FLAG} {FLAG}"
    monkeypatch.setattr(jax.config, "update", lambda *_: None)
    devices.use_cpu_devices(2)
    assert os.environ["XLA_FLAGS"] == "--a=1"


@pytest.mark.parametrize(
    ("vendor", "flags", "faster"),
    [
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_which_processors_compute_bfloat16_faster_than_float32(tmp_path, vendor, flags, faster):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flags} sse\n")
    assert devices._computes_bfloat16(info) == faster
    assert not devices._computes_bfloat16(tmp_path / "none")


CACHE_CODE = """
import warnings, pathlib, jax, jax.numpy as jnp
from diffax import devices
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    directory = devices.enable_compilation_cache()
jax.jit(lambda x: x * 3 + 1)(jnp.ones(7))
print(directory, len(list(directory.iterdir())) if directory else 0, [str(w.message) for w in caught])
before = len(list(directory.iterdir())) if directory else 0
off = devices.enable_compilation_cache(enabled=False)
jax.jit(lambda x: x * 5 + 1)(jnp.ones(9))
print(off, (len(list(directory.iterdir())) if directory else 0) - before)
"""


def cache_run(**environment):
    """(directory, number of entries after a computation, warnings); then the cache is switched off."""
    switched_on, switched_off = run(CACHE_CODE, **environment)[0].splitlines()
    assert switched_off == "None 0"
    return switched_on.split(maxsplit=2)


def test_cache_is_in_the_users_cache_directory(tmp_path):
    directory, entries, warned = cache_run(XDG_CACHE_HOME=str(tmp_path))
    assert directory == str(tmp_path / "diffax" / "jax") and int(entries) >= 1 and warned == "[]"


def test_the_users_own_directory_wins(tmp_path):
    own = tmp_path / "own"
    directory, entries, _ = cache_run(XDG_CACHE_HOME=str(tmp_path / "xdg"), JAX_COMPILATION_CACHE_DIR=str(own))
    assert directory == str(own) and int(entries) >= 1 and not (tmp_path / "xdg").exists()


def test_the_user_can_switch_the_cache_off(tmp_path):
    assert cache_run(XDG_CACHE_HOME=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="false") == ["None", "0", "[]"]
    assert not list(tmp_path.iterdir())


def test_programs_of_onednn_are_not_kept(tmp_path):
    flags = f"--xla_force_host_platform_device_count=1 {devices.BFLOAT16_FLAG}"
    assert cache_run(XDG_CACHE_HOME=str(tmp_path), XLA_FLAGS=flags) == ["None", "0", "[]"]
    assert not list(tmp_path.iterdir())


def test_unwritable_directory_only_warns(tmp_path):
    (tmp_path / "file").touch()
    directory, _, warned = cache_run(XDG_CACHE_HOME=str(tmp_path / "file"))
    assert directory == "None" and "cannot write to" in warned and "Not a directory" in warned


def test_default_directory_follows_xdg(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert devices._default_cache_directory() == pathlib.Path("/x/diffax/jax")
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert devices._default_cache_directory() == pathlib.Path.home() / ".cache" / "diffax" / "jax"


def test_description_is_json_and_names_versions():
    description = json.loads(json.dumps(devices.describe()))
    assert description["packages"]["jax"] == jax.__version__
    assert description["packages"]["optax"] == optax.__version__
    assert description["python"] == ".".join(map(str, sys.version_info[:3]))
    assert len(description["devices"]) == jax.device_count()
    assert description["cpu_count"] >= description["usable_cpu_count"] >= 1


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_is_that_of_the_sources_own_repository(tmp_path):
    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    source = tmp_path / "diffax"
    (source / "deeper").mkdir(parents=True)
    (source / "a.py").write_text("1")
    assert devices.git_commit(source) is None and devices.git_modified(source) is None
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    assert devices.git_commit(source) == git("rev-parse", "HEAD")
    assert devices.git_modified(source) is False
    (source / "a.py").write_text("2")
    assert devices.git_modified(source) is True
    # As a package installed somewhere inside an unrelated repository would be.
    assert devices.git_commit(source / "deeper") is None
