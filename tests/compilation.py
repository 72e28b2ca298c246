"""Quick compilation: what the tests compile runs once or a few times, and compiling it is most of their time.

XLA optimizes little, and programs are kept in a directory of pytest's cache, which all processes share: the workers of
pytest-xdist, launch.py where a test starts it, and the tests of another time. It is emptied by `pytest --cache-clear`
and where it has grown large. What a program computes stays the same up to rounding.
XLA_FLAGS=--xla_backend_optimization_level=3 has the tests compile as a real run does.
"""

import hashlib
import os
import pathlib
import shutil
import tempfile

import jax
import pytest

from diffax import devices
from diffax.runs import kept

_LEVEL = "--xla_backend_optimization_level"
# The last but one has XLA's older emitters of loops and fusions generate the code, in half the time. The last has LLVM
# take a program as one module: splitting it for other threads, which the other tests keep busy, takes a tenth.
_FLAGS = (
    f"{_LEVEL}=0 --xla_llvm_disable_expensive_passes=true --xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_parallel_codegen_split_count=1"
)
_LARGEST = 2_000_000_000  # bytes


def configure(config: pytest.Config) -> None:
    """Settings of this process and of those it starts; before JAX starts."""
    directory = str(_directory(config))
    flags = os.environ.get("XLA_FLAGS", "")
    if _LEVEL not in flags and not devices.may_use_accelerator() and _accepted(config):
        os.environ["XLA_FLAGS"] = f"{flags} {_FLAGS}".lstrip()
    # The variables are for other processes: JAX has read its own.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = directory
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    jax.config.update("jax_compilation_cache_dir", directory)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _directory(config: pytest.Config) -> pathlib.Path:
    """Where programs are kept, those of another processor elsewhere."""
    cache = getattr(config, "cache", None)  # -p no:cacheprovider
    if cache is None:
        temporary = tempfile.mkdtemp(prefix="diffax-compiled-")
        config.add_cleanup(lambda: shutil.rmtree(temporary, ignore_errors=True))
        return pathlib.Path(temporary)
    path = pathlib.Path(cache.mkdir("compiled")) / hashlib.sha256(kept._processor().encode()).hexdigest()[:8]
    if sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) > _LARGEST:
        shutil.rmtree(path)
    path.mkdir(exist_ok=True)
    return path


def _accepted(config: pytest.Config) -> bool:
    """Whether the installed jaxlib knows the flags; an unknown one would abort the process."""
    key, cache = f"xla_flags/{jax.lib.__version__}", getattr(config, "cache", None)
    answer = cache.get(key, None) if cache else None
    if answer is None or answer[0] != _FLAGS:
        answer = [_FLAGS, devices._try_flag(_FLAGS)]
        if cache and answer[1]:
            cache.set(key, answer)
    return answer[1] == "accepted"
