"""Sweeps over runs of a few steps, of a network of a few hundred parameters."""

import os
import pathlib

import pytest

from tests.jobs.conftest import command, reports_off, standard_promotion  # noqa: F401

os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # as diffax.sweeps.slurm sets it
CONFIG = pathlib.Path(__file__).parent / "small.py"


@pytest.fixture
def sweep(command, tmp_path):  # noqa: F811
    """Runs a sweep over the small config; the file holds `body`, the return value of get_points unless told."""

    def run(body, *arguments, head="def get_points():\n    return"):
        file = tmp_path / "file.py"
        file.write_text(f"from diffax import sweeps\n{head} {body}\n")
        return command("--config", CONFIG, "--sweep", file, "--workdir", tmp_path / "sweep", *arguments)

    return run
