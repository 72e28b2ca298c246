"""Kills and restarts training runs in child processes, and compares the run directories that they leave."""

import dataclasses
import json
import multiprocessing
import os
import pathlib
import re
import signal
import sys
import time
import warnings
import zlib
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

# About the duration of a save of a small network, and the interval at which a run's files are polled.
SAVE_SECONDS, POLL_SECONDS = 0.06, 0.002
PREEMPTED = 75
# Children are forked from a process that has imported everything already, since imports are most of a start.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["launch"])


@dataclasses.dataclass
class Tally:
    """Counts of a tortured run.

    signals: kills by the name of the signal.
    during_saves: kills during a checkpoint save.
    starts: of the command.
    steps_lost: steps that were made again after a kill, counted where a line of metrics had been written for them.
    """

    signals: dict[str, int] = dataclasses.field(default_factory=dict)
    during_saves: int = 0
    starts: int = 0
    steps_lost: int = 0

    @property
    def kills(self) -> int:
        """The number of kills by all signals."""
        return sum(self.signals.values())


def start(arguments: list[str], output: pathlib.Path, cache: pathlib.Path | None = None) -> Any:
    """Starts launch.py with these arguments in a child process, whose output is appended to a file.

    cache: the folder of the compilation cache; the user's own by default.
    """
    process = PROCESSES.Process(target=_launch, args=(arguments, output, cache))
    process.start()
    return process


def _launch(arguments: list[str], output: pathlib.Path, cache: pathlib.Path | None) -> None:
    with open(output, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if cache is not None:
        os.environ["XDG_CACHE_HOME"] = str(cache)
    import launch

    sys.argv = ["launch.py", *arguments]
    sys.exit(launch.main(sys.argv))


def torture(
    arguments: list[str],
    run: pathlib.Path,
    *,
    kills: int,
    mean_advance: float,
    seed: int,
    cache: pathlib.Path | None = None,
) -> Tally:
    """Runs launch.py in the directory `run`, kills it `kills` times, and finally lets it run to its end.

    A kill comes after a random number of steps since the start, with the mean mean_advance, or during the start. At
    least half of the kills come during the next checkpoint save. One in five is SIGTERM or SIGINT (Ctrl-C), which the
    run answers by saving a checkpoint; the others are SIGKILL.

    Raises:
      AssertionError: a checkpoint directory is incomplete, a start does not continue from the newest checkpoint, or a
        process ends with an unexpected exit code.
    """
    rng, tally = np.random.default_rng(seed), Tally()
    output, num_read = run.with_name(f"{run.name}.out"), 0
    while True:
        newest, before = max(complete_steps(run), default=0), Progress.of(run)
        process = start(arguments, output, cache)
        tally.starts += 1
        graceful, delay = rng.random() < 0.2, rng.random()
        number = rng.choice([signal.SIGTERM, signal.SIGINT]) if graceful else signal.SIGKILL
        advance = rng.integers(1, 2 * mean_advance) if graceful or rng.random() < 0.9 else 0
        if tally.kills < kills:
            in_save = tally.during_saves <= tally.kills / 2
            _wait(process, run, before, newest, newest + int(advance), in_save, delay)
            saving = Progress.of(run).partial - before.partial
            os.kill(process.pid, number)
        process.join()
        printed = output.read_text()
        resumed = _resumed(printed)[num_read:]
        assert resumed in ([newest], []), f"resumed from {resumed}, but the newest complete checkpoint was {newest}"
        num_read += len(resumed)
        tally.steps_lost += max(before.step - newest, 0)
        if tally.kills == kills:
            assert process.exitcode == 0, printed
            return tally
        name = signal.Signals(number).name
        assert process.exitcode == (PREEMPTED if graceful else -signal.SIGKILL), (
            f"{name}: {process.exitcode}\n{printed}"
        )
        # A save that ended before SIGKILL came was not interrupted.
        tally.during_saves += bool(saving if graceful else Progress.of(run).partial - before.partial)
        tally.signals[name] = tally.signals.get(name, 0) + 1


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of a run, read from its files.

    step: the last step with a line of metrics.
    lines: the inode of metrics.jsonl; None without that file.
    partial: the temporary directories of saves in progress or interrupted, as (name, inode).
    """

    step: int
    lines: int | None
    partial: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, run: pathlib.Path) -> "Progress":
        """The progress of the run in a directory."""
        step, lines = 0, None
        try:
            with open(run / "metrics.jsonl", "rb") as file:
                lines = os.fstat(file.fileno()).st_ino
                file.seek(max(0, os.fstat(file.fileno()).st_size - 4000))
                found = re.findall(rb'^\{"step": (\d+), .*\}$', file.read(), re.MULTILINE)
                step = int(found[-1]) if found else 0
            entries = [(entry.name, entry.inode()) for entry in os.scandir(run / "checkpoints")]
        except FileNotFoundError:
            entries = []
        return cls(step, lines, frozenset(entry for entry in entries if ".partial" in entry[0]))


def _wait(
    process: Any, run: pathlib.Path, before: Progress, newest: int, target: int, in_save: bool, delay: float
) -> None:
    """Waits until the run has reached the target step and, if in_save, has begun a save; then a fraction of a save.

    newest: the step of the checkpoint that the run continues from.
    delay: the fraction, in [0, 1).
    """

    def reached(now: Progress) -> bool:
        # A resumed run first drops the lines of the steps that it repeats, which makes a new file.
        stale = before.step > newest and now.lines == before.lines
        return not stale and now.step >= target and not (in_save and not now.partial - before.partial)

    while not reached(Progress.of(run)):
        assert process.is_alive(), "the run ended before it was killed; give it more steps"
        time.sleep(POLL_SECONDS)
    time.sleep(delay * SAVE_SECONDS)


def _resumed(printed: str) -> list[int]:
    """The steps that the starts printed they continue from, 0 for the beginning; an early kill leaves no such line."""
    found = re.findall(r"examples .*, from the (?:beginning|checkpoint of step (\d+))$", printed, re.MULTILINE)
    return [int(step or 0) for step in found]


def complete_steps(run: pathlib.Path) -> list[int]:
    """The steps of all checkpoint directories, after comparing each with its manifest, independently of diffax.

    Raises:
      AssertionError: a directory named like a checkpoint is incomplete or does not match its manifest.
    """
    paths = [path for path in (run / "checkpoints").glob("*") if path.name.isdecimal()]
    for path in paths:
        manifest = json.loads((path / "manifest.json").read_text())
        files = [file for file in path.rglob("*") if file.is_file() and file.suffix != ".partial"]
        contents = {file.relative_to(path).as_posix(): file.read_bytes() for file in files}
        del contents["manifest.json"]
        assert manifest.keys() == contents.keys(), path
        for name, data in contents.items():
            # A description that was added to may be the old or the new one.
            entry, allowed = [len(data), zlib.crc32(data)], manifest[name]
            assert entry == allowed or (name == "description.json" and entry in allowed), (path, name)
        assert "description.json" in contents and "state/_METADATA" in contents, path
    return sorted(int(path.name) for path in paths)


def arrays(run: pathlib.Path, step: int) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """{path: (dtype, shape, bytes)} of all arrays of a checkpoint, read with Orbax alone."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # Orbax warns that no sharding is given
        leaves = jax.tree_util.tree_leaves_with_path(ocp.load(run / "checkpoints" / str(step)))
    found = {}
    for path, leaf in leaves:
        is_key = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        found[jax.tree_util.keystr(path)] = (str(array.dtype), array.shape, array.tobytes())
    return found


def lines(run: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl without the measurements of speed and memory."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = {"steps_per_second", "images_per_second", "flops_utilization", "memory_gb"}
    return [{name: value for name, value in record.items() if name not in measured} for record in records]


def differences(left: pathlib.Path, right: pathlib.Path, step: int) -> list[str]:
    """The paths of arrays that are not equal bit for bit in two runs, and "metrics.jsonl" if its lines differ."""
    first, second = arrays(left, step), arrays(right, step)
    different = [path for path in sorted({*first, *second}) if first.get(path) != second.get(path)]
    return different + ([] if lines(left) == lines(right) else ["metrics.jsonl"])
