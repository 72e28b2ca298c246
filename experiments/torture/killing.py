"""Training runs in processes of their own, that are killed, and what they leave behind."""

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

# The time that a save of a small network takes, about, and that between two looks at what a run is doing.
SAVE_SECONDS, POLL_SECONDS = 0.06, 0.002
PREEMPTED = 75
# Children of a process that has imported everything already, which takes longer than all the rest of a start.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["launch"])


@dataclasses.dataclass
class Tally:
    """What a run went through: kills, those of them in the middle of a save, starts, and steps made in vain.

    steps_lost counts steps of which a line had been written.
    """

    signals: dict[str, int] = dataclasses.field(default_factory=dict)
    during_saves: int = 0
    starts: int = 0
    steps_lost: int = 0

    @property
    def kills(self) -> int:
        return sum(self.signals.values())


def start(arguments: list[str], output: pathlib.Path, cache: pathlib.Path | None = None) -> Any:
    """launch.py with these arguments in a process of its own; what it says is appended to the file `output`.

    cache: where compiled programs are kept, if not in the user's own place.
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
    """Runs the command in the directory `run`, killing it so many times, and once more to its end.

    A kill comes when a random number of steps have been made since the start, mean_advance in the mean, or while it is
    starting; half of the kills in the middle of the save that is next. Every fifth is a SIGTERM or a Ctrl-C, which a
    run answers in its own way; the others are SIGKILL.

    Raises:
      AssertionError: a directory that bears a checkpoint's name is not whole, a start goes on from another checkpoint
        than the newest, or a process ends in another way than it should.
    """
    rng, tally = np.random.default_rng(seed), Tally()
    output, spoken = run.with_name(f"{run.name}.out"), 0
    while True:
        newest, before = max(whole_steps(run), default=0), Traces.of(run)
        process = start(arguments, output, cache)
        tally.starts += 1
        polite, delay = rng.random() < 0.2, rng.random()
        number = rng.choice([signal.SIGTERM, signal.SIGINT]) if polite else signal.SIGKILL
        advance = rng.integers(1, 2 * mean_advance) if polite or rng.random() < 0.9 else 0
        if tally.kills < kills:
            in_save = tally.during_saves <= tally.kills / 2
            _wait(process, run, before, newest, newest + int(advance), in_save, delay)
            saving = Traces.of(run).partial - before.partial
            os.kill(process.pid, number)
        process.join()
        said = output.read_text()
        resumed = _resumed(said)[spoken:]
        assert resumed in ([newest], []), f"resumed from {resumed}, but the newest whole checkpoint was {newest}"
        spoken += len(resumed)
        tally.steps_lost += max(before.step - newest, 0)
        if tally.kills == kills:
            assert process.exitcode == 0, said
            return tally
        name = signal.Signals(number).name
        assert process.exitcode == (PREEMPTED if polite else -signal.SIGKILL), f"{name}: {process.exitcode}\n{said}"
        # A save that ended before the kill came was not cut short.
        tally.during_saves += bool(saving if polite else Traces.of(run).partial - before.partial)
        tally.signals[name] = tally.signals.get(name, 0) + 1


@dataclasses.dataclass(frozen=True)
class Traces:
    """How far a run is, by its files: the last step with a line, which file that is, saves under way or cut short."""

    step: int
    lines: int | None
    partial: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, run: pathlib.Path) -> "Traces":
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
    process: Any, run: pathlib.Path, before: Traces, newest: int, target: int, in_save: bool, delay: float
) -> None:
    """Until the run has reached the target, counted from its newest checkpoint, and a save if that is wanted."""

    def reached(now: Traces) -> bool:
        # Lines of steps to be made again are dropped, which makes a new file.
        stale = before.step > newest and now.lines == before.lines
        return not stale and now.step >= target and not (in_save and not now.partial - before.partial)

    while not reached(Traces.of(run)):
        assert process.is_alive(), "the run ended before it was killed; give it more steps"
        time.sleep(POLL_SECONDS)
    time.sleep(delay * SAVE_SECONDS)


def _resumed(said: str) -> list[int]:
    """The checkpoints that the starts said they go on from; one that was killed early said nothing."""
    found = re.findall(r"examples .*, from the (?:beginning|checkpoint of step (\d+))$", said, re.MULTILINE)
    return [int(step or 0) for step in found]


def whole_steps(run: pathlib.Path) -> list[int]:
    """The steps of all directories that bear a checkpoint's name, each compared with its manifest, here anew."""
    paths = [path for path in (run / "checkpoints").glob("*") if path.name.isdecimal()]
    for path in paths:
        manifest = json.loads((path / "manifest.json").read_text())
        contents = {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        del contents["manifest.json"]
        assert manifest == {name: [len(data), zlib.crc32(data)] for name, data in contents.items()}, path
        assert "description.json" in contents and "state/_METADATA" in contents, path
    return sorted(int(path.name) for path in paths)


def arrays(run: pathlib.Path, step: int) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """{name: (dtype, shape, bytes)} of all that a checkpoint holds, read by Orbax alone."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of arrays whose place is not given
        leaves = jax.tree_util.tree_leaves_with_path(ocp.load(run / "checkpoints" / str(step)))
    found = {}
    for path, leaf in leaves:
        is_key = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        found[jax.tree_util.keystr(path)] = (str(array.dtype), array.shape, array.tobytes())
    return found


def lines(run: pathlib.Path) -> list[dict[str, Any]]:
    """metrics.jsonl, without what is a matter of time."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = {"steps_per_second", "images_per_second", "flops_utilization", "memory_gb"}
    return [{name: value for name, value in record.items() if name not in measured} for record in records]


def differences(left: pathlib.Path, right: pathlib.Path, step: int) -> list[str]:
    """The names of arrays and the lines in which two runs differ at all."""
    one, other = arrays(left, step), arrays(right, step)
    different = [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)]
    return different + ([] if lines(left) == lines(right) else ["metrics.jsonl"])
