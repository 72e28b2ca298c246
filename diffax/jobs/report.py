"""--mode report: report.html of a run, a sweep or an evaluation, one file with all figures in it."""

import argparse
import pathlib

from ml_collections import ConfigDict

from diffax import distributed
from diffax.reporting import progress
from diffax.runs import directory as run_directory
from diffax.runs import opening, reports
from diffax.runs.errors import UserError, for_people

# A sweep and an evaluation have no config.json.
NEEDS_CONFIG = False


def flags(parser: argparse.ArgumentParser) -> None:
    """This mode has no flags of its own."""


def run(config: ConfigDict | None, workdir: pathlib.Path, args: argparse.Namespace) -> pathlib.Path:
    """Writes report.html into the directory of a run, a sweep or an evaluation; returns its path.

    config: of a run, whose sampler may be another than the run's; None to read the run's own.

    Raises:
      UserError: a directory of none of these, or one that cannot be read or written.
    """
    if reports.is_run(workdir):
        path = _of_run(config, workdir)
    else:
        with for_people():
            path = reports.write_other(workdir)
    if distributed.is_first():
        print(f"report: {path}", flush=True)
    return path


def _of_run(config: ConfigDict | None, workdir: pathlib.Path) -> pathlib.Path:
    config = run_directory.read_config(workdir) if config is None else config
    if config is None:
        raise UserError(f"--workdir {workdir} is no run's directory: it has no config.json")
    run_directory.check_same_run(workdir, config, run_directory.WHEN_OPENED)
    model = opening.open_with(workdir, config) if run_directory.checkpoints(workdir).is_dir() else None
    first = distributed.is_first()
    bar = progress.Progress(
        reports.NUM_SECTIONS, description="report", unit="sections", seconds_between_lines=5.0, enabled=first
    )
    with bar, for_people():
        return reports.write_run(workdir, config, model, bar.update)
