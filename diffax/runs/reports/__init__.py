"""Reports: report.html of a run, a sweep or an evaluation, recognised by the files in its directory."""

import contextlib
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from ml_collections import ConfigDict

from diffax import distributed
from diffax.reporting import page
from diffax.runs import directory as run_directory
from diffax.runs.errors import UserError
from diffax.runs.reports import evaluation, run, sweep
from diffax.runs.trained import Trained

FILENAME = "report.html"
NUM_SECTIONS = run.NUM_SECTIONS


def is_run(directory: pathlib.Path) -> bool:
    """Whether a directory is a run's.

    Raises:
      UserError: it is not, nor a sweep's or an evaluation's.
    """
    if run_directory.config_path(directory).exists():
        return True
    if any((directory / other.FILENAME).exists() for other in (sweep, evaluation)):
        return False
    raise UserError(
        f"--workdir {directory} has nothing to report on: expected config.json of a run, {sweep.FILENAME} of a sweep "
        f"or {evaluation.FILENAME} of an evaluation"
    )


def write_run(
    workdir: pathlib.Path, config: ConfigDict, model: Trained | None, report: Callable[[int], Any] = lambda done: None
) -> pathlib.Path:
    """Writes report.html of a run and returns its path.

    Of several processes all have to call it, since they draw the trajectory together; the first writes.

    Args:
      model: whose denoising trajectory is drawn; None for a run without a checkpoint.
      report: is called with the number of sections done so far, of NUM_SECTIONS.
    """
    made, path = run.page(workdir, config, model, report), workdir / FILENAME
    if distributed.is_first():
        page.write(path, made)
    return path


def write_other(directory: pathlib.Path) -> pathlib.Path:
    """Writes report.html of a sweep or an evaluation and returns its path."""
    room = sweep if (directory / sweep.FILENAME).exists() else evaluation
    path = directory / FILENAME
    page.write(path, room.page(directory))
    return path


def after(directory: pathlib.Path) -> None:
    """Writes report.html of a sweep or an evaluation that has just ended; what goes wrong is a warning."""
    with _warned(directory):
        write_other(directory)


def after_training(workdir: pathlib.Path, model: Trained) -> None:
    """Writes report.html of a run that has just been trained; what goes wrong is a warning: the run is complete."""
    with _warned(workdir):
        write_run(workdir, model.config, model)


@contextlib.contextmanager
def _warned(directory: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split())
        warnings.warn(f"{directory / FILENAME} was not written: {type(error).__name__}: {message}", stacklevel=4)
