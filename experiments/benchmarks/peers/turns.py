"""The child processes of a row, called in turns."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from diffax import allocator, devices
from experiments.benchmarks.peers.rows import Cell, Row
from experiments.benchmarks.peers.sizes import Sizes

# Where each library keeps compiled programs.
_CACHES = ("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR")


class Failed(Exception):
    """A child process ended before its answer."""


def measure(
    row: Row, columns: Iterable[str], sizes: Sizes, rounds: int, *, together: bool = False, patience: float = math.inf
) -> dict[str, dict[str, Any]]:
    """The calls of all columns of a row; a column whose process fails has an "error" instead.

    together: whether all processes start beside one another, where cores and memory are enough for that.
    patience: seconds for which a process is awaited that has not made its first call.
    """
    if row.start_up:
        return {column: _start_up(row.columns[column], sizes, rounds) for column in columns}
    found: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        children: dict[str, _Child] = {}
        for column in columns:
            found[column] = {"calls": []}
            with _errors_kept(found[column]):
                children[column] = stack.enter_context(started(row.columns[column], sizes))
            if not together:
                _await(children, found, patience, column)
        if together:
            # A thread each: one that was awaited in vain for long would leave the others no time to have answered.
            with concurrent.futures.ThreadPoolExecutor(len(row.columns)) as threads:
                list(threads.map(functools.partial(_await, children, found, patience), children))
        with _busy_loop() if row.busy else contextlib.nullcontext():
            _take_turns(children, found, row.warm_up + rounds)
        for column, child in children.items():
            if "error" not in found[column]:
                found[column]["calls"] = found[column]["calls"][row.warm_up :]
                with _errors_kept(found[column]):
                    found[column] |= child.end()
    return found


@dataclasses.dataclass
class _Child:
    """A child process, the file of its error messages, and when it started."""

    process: subprocess.Popen
    errors: Any
    begun: float = dataclasses.field(default_factory=time.time)

    def ready(self, patience: float = math.inf) -> dict[str, Any]:
        """What it says after its first call; it is killed, and has failed, so many seconds after its start."""
        if math.isinf(patience):
            return self._answer()
        too_late = threading.Event()

        def give_up() -> None:
            too_late.set()
            self.process.kill()

        timer = threading.Timer(max(self.begun + patience - time.time(), 0.0), give_up)
        timer.start()
        try:
            return self._answer()
        except Failed as error:
            if too_late.is_set():
                raise Failed(f"no first call within {patience:.0f} seconds") from error
            raise
        finally:
            timer.cancel()

    def call(self) -> dict[str, float]:
        """One timed call."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> dict[str, Any]:
        """Ends it; what it says then."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@{"):
                return json.loads(line[1:])
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        raise Failed(lines[-1] if lines else f"exit code {self.process.wait()}")


@contextlib.contextmanager
def started(cell: Cell, sizes: Sizes, **environment: str) -> Iterator[_Child]:
    """A child process of a cell, which has not answered yet; it is ended with the block."""
    request = {
        "module": cell.module,
        "row": cell.row,
        "sizes": dataclasses.asdict(sizes),
        "options": dict(cell.options),
        "begun": time.time(),
    }
    command = [cell.python, "-m", "experiments.benchmarks.peers.child", json.dumps(request)]
    # JAX would take most of a GPU's memory for itself.
    environment |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    plain = {name: value for name, value in os.environ.items() if name not in allocator.VARIABLES}
    tuned = cell.tuned and not devices.may_use_accelerator()  # as launch.py does
    environment = plain | environment | (allocator.variables(plain) if tuned else {})
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        with process:
            try:
                yield _Child(process, errors)
            finally:
                if process.stdin is not None and not process.stdin.closed:
                    process.stdin.close()
                if process.poll() is None:
                    process.terminate()


def _await(children: Mapping[str, _Child], found: dict[str, dict[str, Any]], patience: float, column: str) -> None:
    """Waits until a child has made its first call."""
    if column in children:
        with _errors_kept(found[column]):
            found[column] |= children[column].ready(patience)


def _take_turns(children: Mapping[str, _Child], found: dict[str, dict[str, Any]], rounds: int) -> None:
    """Calls all children once in every round; one that has failed is left out."""
    for _ in range(rounds):
        for column, child in children.items():
            if "error" not in found[column]:
                with _errors_kept(found[column]):
                    found[column]["calls"].append(child.call())


@contextlib.contextmanager
def _busy_loop() -> Iterator[None]:
    """Another process that computes on one core during the block."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def _start_up(cell: Cell, sizes: Sizes, rounds: int) -> dict[str, Any]:
    """Seconds from the command to the end of the first call, with empty caches ("cold") and after that ("warm")."""
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    found: dict[str, Any] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for seconds in times.values():
                begun = time.perf_counter()
                with _errors_kept(found), started(cell, sizes, **dict.fromkeys(_CACHES, folder)) as child:
                    child.ready()
                    seconds.append(time.perf_counter() - begun)
                    found |= child.end()
    return found | times


@contextlib.contextmanager
def _errors_kept(found: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except (Failed, OSError) as error:
        found["error"] = str(error)
