"""Whole runs, of networks so small that compiling them is most of the work."""

import pathlib
import sys

import grain  # noqa: F401  (defines flags when it is imported, which are not those of a command)
import jax
import pytest
from absl import flags
from absl.testing import flagsaver

import launch

ROOT = pathlib.Path(__file__).parents[2]


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


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs launch.py with the given arguments in an empty directory; returns (exit code, stdout, stderr)."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        argv = ["launch.py", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", argv)
        with flagsaver.flagsaver():
            before = set(flags.FLAGS)
            try:
                code = launch.main(argv)
            finally:
                # Overrides define flags of their own, which the next command defines anew.
                for name in set(flags.FLAGS) - before:
                    delattr(flags.FLAGS, name)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
