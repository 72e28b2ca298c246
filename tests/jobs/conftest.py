"""Whole runs, of networks so small that compiling them is most of the work."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="session")
def quick_compilation(tmp_path_factory):
    """Programs compiled without optimisation, and once for all tests."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax multiplies floats by integer step counts, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield
