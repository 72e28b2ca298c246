"""What every test runs under: quick compilation, and JAX set to refuse what is usually a mistake."""

import gc
import importlib.util
import os
import pathlib
import signal
from collections.abc import Iterator

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from diffax import devices
from tests import checking, compilation

# Arrays of different rank or dtype meet only where the code says so.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_enable_x64", False)

# The tests against other codebases need torch, which only make test-peers installs.
collect_ignore = [] if importlib.util.find_spec("torch") else ["peers"]


def pytest_configure(config: pytest.Config) -> None:
    """Compiler flags and the directory of compiled programs, which pytest-xdist's workers inherit."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        compilation.configure(config)
    devices.configure()


def pytest_collection_finish() -> None:
    """Python's garbage collector no longer looks through what was imported, and looks less often at what tests make."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.fixture(autouse=True, scope="module")
def caches_emptied() -> Iterator[None]:
    """JAX keeps every program and its MLIR context, and XLA looks through all contexts whenever it compiles.

    After three quarters of the tests that took 17% of the time, and a worker 5 GB.
    """
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def programs_kept() -> Iterator[None]:
    """No test leaves JAX's cache of compiled programs off for those after it."""
    before = jax.config.jax_enable_compilation_cache
    yield
    assert jax.config.jax_enable_compilation_cache == before, "this test switches JAX's compilation cache off"


@pytest.fixture
def empty_cache(tmp_path) -> Iterator[pathlib.Path]:
    """The directory of JAX's cache of compiled programs during the test that asks for this, empty at first."""
    before, here = jax.config.jax_compilation_cache_dir, tmp_path / "cache"
    jax.config.update("jax_compilation_cache_dir", str(here))
    compilation_cache.reset_cache()
    yield here
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


@pytest.fixture
def x64() -> Iterator[None]:
    """JAX computes in float64 during the test that asks for this."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True, scope="session")
def hub_offline(tmp_path_factory) -> Iterator[None]:
    """Hugging Face's datasets, imported later and in child processes, keeps its files here and off the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> Iterator[None]:
    """A shell starts what it runs in the background with Ctrl-C ignored; some tests send it, and so do children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked, as outside of the tests: what diffax itself says of a wrong argument can be seen."""
    with checking.off():
        yield
