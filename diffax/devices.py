"""Compiler flags, the persistent compilation cache, and a description of the machine.

Importing this module does not import JAX and changes no setting. Call configure() before JAX computes anything.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import warnings
from typing import Any

from diffax import allocator

# Keeps XLA's CPU compiler from turning single convolutions into YNN fusions, which bypass its faster library. Weight
# gradients of convolutions run up to 4 times faster with the flag, and a training step of DDPM's CIFAR UNet 1.6 times.
CPU_FLAG = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
# Has XLA's CPU compiler hand bfloat16 convolutions to oneDNN, which computes them natively where the processor can: the
# network of configs/cifar_small.py takes 0.36 of its time (jaxlib 0.12.0.1, AMX); older versions of jaxlib accept the
# flag and convert to float32 all the same. float32 convolutions are slower with it. On an Intel processor that has
# AVX512_BF16 and no AMX products of bfloat16 are slower than those of float32, in PyTorch too (160 and 302 GFLOP/s),
# and a training step of DDPM's CIFAR UNet takes 1.22 times as long with the flag; on AMD's, convolutions are faster.
BFLOAT16_FLAG = "--xla_cpu_experimental_onednn_custom_call=true"
# With several CPU devices in one process the flag gives wrong values: sampling 256 digits on each of two devices, the
# first seven samples of each go astray from the twentieth step on (jaxlib 0.10.2; experiments/sample_sets).
_DEVICE_COUNT_FLAG = "--xla_force_host_platform_device_count"
# Seconds that the child process may take which tries the flag: it starts JAX.
_TRIAL_SECONDS = 60.0

PACKAGES = ("diffax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "ml_collections")


def configure() -> bool:
    """Adds the CPU compiler flag to XLA_FLAGS if it is safe and useful; True if this call added it.

    The flag is not added if this jaxlib does not accept it, if the user has set the flag, or if the user keeps XLA's
    flags in a file. It is not added either if an accelerator's plugin is installed and JAX_PLATFORMS is not "cpu": the
    plugin reads XLA_FLAGS too, and may not know the flag; nor with several CPU devices (XLA_FLAGS, JAX_NUM_CPU_DEVICES
    or `use_cpu_devices`), where it gives wrong values. Once JAX has started a backend it is too late, and the call
    warns.

    Whether jaxlib accepts the flag is tried once for each version, in a child process, and kept in the user's cache
    directory: an unknown flag aborts the process.
    """
    return _add(CPU_FLAG)


def configure_bfloat16() -> bool:
    """Adds the CPU compiler flag of bfloat16 networks, where `configure` would add its own and the processor computes
    bfloat16 faster than float32; True if this call added it.
    """
    return _computes_bfloat16() and _add(BFLOAT16_FLAG)


def _add(flag: str) -> bool:
    flags = os.environ.get("XLA_FLAGS", "").strip()
    is_file = bool(flags) and not flags.startswith("-")
    if is_file or _name(flag) in map(_name, flags.split()):
        return False
    if may_use_accelerator() or _has_several_cpu_devices(flags) or not _accepts(flag):
        return False
    if _backend_started():
        warnings.warn(
            f"too late for the compiler flag {_name(flag)}, JAX has started: call devices.configure() first",
            stacklevel=3,
        )
        return False
    os.environ["XLA_FLAGS"] = f"{flags} {flag}".lstrip()
    return True


def _name(flag: str) -> str:
    return flag.partition("=")[0]


def _computes_bfloat16(info: pathlib.Path = pathlib.Path("/proc/cpuinfo")) -> bool:
    """Whether this processor computes bfloat16 faster than float32; False where the system does not say."""
    words = set(info.read_text().split()) if info.exists() else set()
    return "amx_bf16" in words or {"avx512_bf16", "AuthenticAMD"} <= words


def use_cpu_devices(count: int) -> None:
    """Has JAX run on the CPU, as `count` devices; several do without the compiler flag. Call it before JAX starts."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", count)
    if count > 1:
        flags = os.environ.get("XLA_FLAGS", "").split()
        os.environ["XLA_FLAGS"] = " ".join(flag for flag in flags if flag not in (CPU_FLAG, BFLOAT16_FLAG))


def _has_several_cpu_devices(flags: str) -> bool:
    counts = [flag.partition("=")[2] for flag in flags.split() if _name(flag) == _DEVICE_COUNT_FLAG]
    counts.append(os.environ.get("JAX_NUM_CPU_DEVICES", ""))
    return any(count.isdecimal() and int(count) > 1 for count in counts)


def _accepts(flag: str) -> bool:
    """Whether the installed jaxlib accepts a CPU compiler flag, from the cache or else by trying it."""
    version = _version("jaxlib")
    if version is None:
        return False
    path = cache_directory() / "xla_flags" / f"jaxlib-{version}-{platform.system()}-{platform.machine()}{flag}"
    with contextlib.suppress(OSError):
        if (known := path.read_text().strip()) in _ANSWERS:
            return known == "accepted"
    answer = _try_flag(flag)
    if answer is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(answer)
    return answer == "accepted"


_ANSWERS = ("accepted", "refused")


def _try_flag(flag: str) -> str | None:
    """Starts JAX on the CPU with the flag alone, in a child process; None if that failed for another reason."""
    try:
        child = subprocess.run(
            [sys.executable, "-c", "import jax; jax.devices()"],
            env=os.environ | {"XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRIAL_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if child.returncode == 0:
        return "accepted"
    return "refused" if "XLA_FLAGS" in child.stderr else None


def enable_compilation_cache(*, enabled: bool = True) -> pathlib.Path | None:
    """Enables JAX's persistent compilation cache, so that the next start compiles nothing; returns its directory.

    The directory is the user's own (JAX_COMPILATION_CACHE_DIR or jax.config) if there is one, else
    $XDG_CACHE_HOME/diffax/jax or ~/.cache/diffax/jax.

    The cache is off and the result None if `enabled` is False, or if the user disabled it
    (JAX_ENABLE_COMPILATION_CACHE=false, or an empty JAX_COMPILATION_CACHE_DIR), and with BFLOAT16_FLAG: jaxlib 0.12.0.1
    takes all memory to serialize a program with oneDNN's convolutions. The same holds, with a warning, if the directory
    cannot be written.
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    # JAX reads these settings once, at its first compilation, which may have happened already.
    compilation_cache.reset_cache()

    config: Any = jax.config
    if not enabled or BFLOAT16_FLAG in os.environ.get("XLA_FLAGS", "").split():
        config.update("jax_enable_compilation_cache", False)
    if not config.jax_enable_compilation_cache or os.environ.get("JAX_COMPILATION_CACHE_DIR") == "":
        return None
    directory = pathlib.Path(config.jax_compilation_cache_dir or _default_cache_directory())
    # JAX itself checks a remote directory (gs://...).
    if "://" not in str(config.jax_compilation_cache_dir) and (problem := _why_unwritable(directory)):
        warnings.warn(f"compiled programs are not kept: cannot write to {directory} ({problem})", stacklevel=2)
        config.update("jax_enable_compilation_cache", False)
        return None
    if not config.jax_compilation_cache_dir:
        config.update("jax_compilation_cache_dir", str(directory))
    # JAX's default minimum of one second leaves out the many small programs of a start, which together take as long.
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return directory


def describe() -> dict[str, Any]:
    """The environment of a run, as JSON-ready values: versions, git commit, processor and devices.

    Starts JAX's backend.
    """
    import jax

    source = pathlib.Path(__file__).resolve().parent
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {package: _version(package) for package in PACKAGES},
        "git_commit": git_commit(source),
        "git_modified": git_modified(source),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "usable_cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "backend": jax.default_backend(),
        "num_processes": jax.process_count(),
        "devices": [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()],
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "malloc": allocator.describe(),
    }


def may_use_accelerator() -> bool:
    """Whether a plugin for an accelerator is installed and JAX_PLATFORMS is not "cpu"; does not start JAX."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return bool(plugins) or any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))


def cache_directory() -> pathlib.Path:
    """The directory of diffax in the user's cache: $XDG_CACHE_HOME/diffax or ~/.cache/diffax."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG standard says that relative paths are ignored.
    base = pathlib.Path(root) if os.path.isabs(root) else pathlib.Path.home() / ".cache"
    return base / "diffax"


def _processor() -> str:
    """The model name of the processor."""
    info = pathlib.Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return models[0] if models else platform.machine()


def git_commit(source: pathlib.Path) -> str | None:
    """The git commit of the repository whose top level contains the folder `source`; None without one."""
    # An installed package may lie inside an unrelated repository, whose commit says nothing about the package.
    top_level = _git(source, "rev-parse", "--show-toplevel")
    if top_level is None or pathlib.Path(top_level).resolve() != source.resolve().parent:
        return None
    return _git(source, "rev-parse", "HEAD")


def git_modified(source: pathlib.Path) -> bool | None:
    """Whether tracked files in `source` differ from its git commit; None without one."""
    if git_commit(source) is None:
        return None
    status = _git(source, "--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--", ".")
    return None if status is None else bool(status)


def _git(directory: pathlib.Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(directory), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _backend_started() -> bool:
    # Looks only at a module that is already imported, so that this check does not import JAX.
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def _default_cache_directory() -> pathlib.Path:
    return cache_directory() / "jax"


def _why_unwritable(directory: pathlib.Path) -> str | None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        return error.strerror or str(error)
    return None
