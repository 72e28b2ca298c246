"""Whole runs, of networks so small that compiling them is most of the work."""

import pathlib
import sys

import jax
import pytest

import launch
from diffax.runs import reports

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax multiplies floats by integer step counts, which strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True)
def reports_off(monkeypatch):
    """Training writes no report.html: each compiles a sampler anew, and only tests/runs/test_reports.py looks at it."""
    monkeypatch.setattr(reports, "after_training", lambda workdir, model: None)


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Runs launch.py with the given arguments in an empty directory; returns (exit code, stdout, stderr)."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("diffax.jobs.inspect_data._SECONDS", 0.02)  # of measuring the speed of the data

    def run(*arguments):
        argv = ["launch.py", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", argv)
        path = list(sys.path)
        try:
            code = launch.main(argv)
        finally:
            sys.path[:] = path  # config files and working directories are added to it
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
