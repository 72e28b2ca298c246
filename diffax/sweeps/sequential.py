"""Points one after another in this process: each claimed by its lock, trained, and its end written down."""

import argparse
import contextlib
import pathlib
import time
from collections.abc import Iterable, Iterator

import jax

from diffax.jobs import train
from diffax.runs import directory as run_directory
from diffax.runs import lock
from diffax.runs.errors import InUse, Preempted, UserError
from diffax.sweeps import directory
from diffax.sweeps.directory import State, Status
from diffax.sweeps.points import Point

# The programs of a point serve no other, and stay in memory.
_POINTS_BETWEEN_CLEARING = 20


def run(workdir: pathlib.Path, points: Iterable[Point], *, fail_fast: bool = False, only_pending: bool = True) -> None:
    """Trains the points that are not finished and that no other process has.

    A point that fails is written down with its error, and the next one follows.

    Args:
      fail_fast: the first failure ends the sweep.
      only_pending: passes over killed and stopped points too (see directory.reset).

    Raises:
      UserError: fail_fast, and a point failed.
      Preempted: SIGTERM or Ctrl-C came; the point is saved.
    """
    for number, point in enumerate(points, start=1):
        if number % _POINTS_BETWEEN_CLEARING == 0:
            jax.clear_caches()
        with contextlib.suppress(InUse):
            ended = run_point(workdir, point, only_pending=only_pending)
            if ended.state is State.FAILED and fail_fast:
                raise UserError(f"{point.name} failed: {ended.message}")


def run_point(workdir: pathlib.Path, point: Point, *, only_pending: bool = True) -> Status:
    """Trains one point; returns how it ended, or its status where there is nothing to do.

    Raises:
      InUse: another process trains it.
      Preempted: SIGTERM or Ctrl-C came; the point is saved.
    """
    before = directory.status(workdir, point.name)
    done = (State.FINISHED, State.FAILED)
    if before.state in done or (only_pending and before.state is not State.PENDING):
        return before
    with claimed(workdir, point) as earlier:
        if earlier.state in done:
            return earlier
        with watched(workdir, point, earlier):
            train.run(point.config, workdir / point.name, train_arguments())
    return directory.status(workdir, point.name)


@contextlib.contextmanager
def claimed(workdir: pathlib.Path, point: Point) -> Iterator[Status]:
    """Holds the lock of a point; yields its status as of then.

    Raises:
      InUse: another process holds it.
    """
    # Read before the lock is held: a point that runs holds it.
    with lock.held(workdir / point.name, run_directory.POINT_LOCK):
        path = workdir / point.name / run_directory.POINT_STATUS
        yield directory.status(workdir, point.name) if path.exists() else Status(State.PENDING)


@contextlib.contextmanager
def watched(workdir: pathlib.Path, point: Point, earlier: Status) -> Iterator[None]:
    """Writes down that a point runs, and how the block that trains it ended; an error of the point ends here.

    Raises:
      InUse, Preempted, KeyboardInterrupt: from the block.
    """
    begun = time.monotonic()

    def ended(state: State, message: str = "") -> None:
        seconds = earlier.seconds + time.monotonic() - begun
        directory.set_status(workdir, point.name, Status(state, message, seconds))

    directory.set_status(workdir, point.name, Status(State.RUNNING, seconds=earlier.seconds))
    try:
        yield
    except (Preempted, KeyboardInterrupt) as error:
        ended(State.STOPPED, one_line(error) or "interrupted")
        raise
    except InUse:
        (workdir / point.name / run_directory.POINT_STATUS).unlink(missing_ok=True)
        raise
    except Exception as error:
        known = isinstance(error, UserError | FloatingPointError)
        message = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"
        ended(State.FAILED, message)
        print(f"{workdir / point.name}: failed: {message}", flush=True)
    else:
        ended(State.FINISHED)


def train_arguments() -> argparse.Namespace:
    """The flags of --mode train at their defaults."""
    parser = argparse.ArgumentParser()
    train.flags(parser)
    return parser.parse_args([])


def one_line(error: BaseException) -> str:
    """The message of an error in one line."""
    return " ".join(str(error).split())
