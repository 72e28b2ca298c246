"""The directory of a sweep: its base configuration, its points, and how far each point is.

SWEEP/sweep.json         the resolved base configuration and its hash
      points/NAME.json   overrides and resolved configuration of a point, NAME being PREFIX-HASH
      NAME/              the run directory of a point, with status.json
      logs/              what worker processes printed
      summary.json, .csv, .md; plots/; hparams/
"""

import dataclasses
import enum
import json
import pathlib
import time
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from diffax.runs import directory as run_directory
from diffax.runs import lock
from diffax.runs.errors import InUse, UserError
from diffax.sweeps import points as sweep_points
from diffax.sweeps.points import Point

FILENAME, POINTS = "sweep.json", "points"


class State(enum.StrEnum):
    """How far a point is."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # saved, on SIGTERM or Ctrl-C
    KILLED = "killed"  # its process ended without a word
    FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Status:
    """The state of a point, one line on it, and the seconds that its runs took so far."""

    state: State
    message: str = ""
    seconds: float = 0.0


def claim(workdir: pathlib.Path, base: ConfigDict) -> None:
    """Makes workdir the directory of a sweep over a resolved base configuration, or checks that it is.

    Raises:
      UserError: a directory that is something else, a sweep over another base, or one that cannot be written.
    """
    path, digest = workdir / FILENAME, sweep_points.digest(base)
    if not path.exists():
        if workdir.is_dir() and any(workdir.iterdir()):
            raise UserError(f"--workdir {workdir} is neither empty nor a sweep's directory (it has no {FILENAME})")
        run_directory.check_writable(workdir)
        run_directory.write_json(path, {"base_hash": digest, "base": base.to_dict()})
        return
    record = _read(path)
    if record["base_hash"] != digest:
        changes = _differences(record["base"], base)
        raise UserError(
            f"--workdir {workdir} is a sweep over another base config: {'; '.join(changes.values())} "
            "(choose another --workdir)"
        )


def record(workdir: pathlib.Path, points: Iterable[Point]) -> None:
    """Writes down points, so that other processes find them by their names."""
    for point in points:
        path = workdir / POINTS / f"{point.name}.json"
        if not path.exists():
            content = {"label": point.label, "overrides": point.overrides, "config": point.config.to_dict()}
            run_directory.write_json(path, content)


def recorded(workdir: pathlib.Path, name: str, base: ConfigDict) -> Point:
    """A point that was written down; base: the unresolved base configuration.

    Raises:
      UserError: there is no such point, or its settings now resolve to another configuration.
    """
    path = workdir / POINTS / f"{name}.json"
    if not path.exists():
        raise UserError(f"--point {name}: {workdir} has no such point")
    content = _read(path)
    label = {} if content["label"] is None else {sweep_points.LABEL: content["label"]}
    point = sweep_points.resolved_one(base, label | dict(content["overrides"]))
    if point.name != name:
        changes = _differences(content["config"], point.config)
        raise UserError(f"--point {name}: its settings now mean another config: {'; '.join(changes.values())}")
    return point


def status(workdir: pathlib.Path, name: str) -> Status:
    """How far a point is. A point whose process is gone and did not say how it ended was killed."""
    path = workdir / name / run_directory.POINT_STATUS
    if not path.exists():
        return Status(State.PENDING)
    content = _read(path)
    found = Status(State(content["state"]), content["message"], content["seconds"])
    if found.state is State.RUNNING and not _is_held(workdir / name):
        return Status(State.KILLED, "its process was killed; the same command continues it", found.seconds)
    return found


def set_status(workdir: pathlib.Path, name: str, status: Status) -> None:
    """Writes the status of a point; call it while holding its lock."""
    content = {"state": status.state.value, "message": status.message, "seconds": round(status.seconds, 3)}
    content["time"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    run_directory.write_json(workdir / name / run_directory.POINT_STATUS, content)


def reset(workdir: pathlib.Path, names: Iterable[str], *, retry_failed: bool = False) -> None:
    """Makes killed and stopped points, and with retry_failed failed ones, pending again."""
    again = {State.STOPPED, State.KILLED, *([State.FAILED] if retry_failed else [])}
    for name in names:
        before = status(workdir, name)
        if before.state in again:
            set_status(workdir, name, Status(State.PENDING, seconds=before.seconds))


def _differences(before: dict[str, Any], after: ConfigDict) -> dict[str, str]:
    """run_directory.differences of what JSON gave back and a configuration."""
    return run_directory.differences(ConfigDict(before), ConfigDict(json.loads(json.dumps(after.to_dict()))))


def _is_held(directory: pathlib.Path) -> bool:
    try:
        with lock.held(directory, run_directory.POINT_LOCK):
            return False
    except InUse:
        return True


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}): restore it, or choose another --workdir") from error
