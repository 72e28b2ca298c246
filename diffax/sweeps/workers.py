"""Worker processes on one machine, each with its share of the processor cores or its GPU.

A worker is the sweep's own command with the names of the pending points: it takes one after another that no other
worker has. One that dies is replaced, and the point that it had stays for the next run of the command.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Sequence

import numpy as np

from diffax.runs.errors import Preempted, UserError
from diffax.sweeps import directory
from diffax.sweeps.directory import State
from diffax.sweeps.points import Point
from diffax.training import preemption

LOGS = "logs"
_SECONDS_BETWEEN_LOOKS = 0.05
_PREEMPTED = 75  # the exit code of launch.py
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux


@dataclasses.dataclass
class _Worker:
    index: int
    process: subprocess.Popen
    log: pathlib.Path
    num_pending: int


def run(
    workdir: pathlib.Path,
    points: Sequence[Point],
    command: Sequence[str],
    num_workers: int | None = None,
    *,
    fail_fast: bool = False,
) -> None:
    """Trains pending points by worker processes.

    Args:
      command: of this sweep; names of points are appended to it.
      num_workers: at a time; None for one a GPU, and without a GPU one for every two cores.
      fail_fast: the first failure ends the sweep.

    Raises:
      UserError: fail_fast, and a point failed; or workers end before they have taken a point.
      Preempted: SIGTERM or Ctrl-C came; what was being trained is saved.
    """
    pending = _pending(workdir, points)
    num_workers = min(num_workers or len(gpus()) or max(len(cores()) // 2, 1), len(pending))
    workers: list[_Worker] = []

    def start(index: int) -> None:
        workers.append(_started(workdir, command, index, num_workers, _pending(workdir, points)))

    with preemption.watched() as should_stop:
        try:
            for index in range(num_workers):
                start(index)
            while workers:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                for worker in [one for one in workers if one.process.poll() is not None]:
                    workers.remove(worker)
                    pending = _pending(workdir, points)
                    if worker.process.returncode in (0, _PREEMPTED) or should_stop(0):
                        continue
                    _report(worker, fail_fast, made_progress=len(pending) < worker.num_pending or not pending)
                    if pending:
                        start(worker.index)
                if should_stop(0):
                    break
        finally:
            _stop(workers)
    if should_stop(0):
        raise Preempted(f"{workdir}: what was being trained is saved; the same command goes on")


def environment(index: int, num_workers: int) -> dict[str, str]:
    """The environment variables of a worker: its GPU, or the threads of its share of the cores."""
    found = gpus()
    if not found:
        return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(len(share(index, num_workers))))
    each = -(-num_workers // len(found))  # workers on a GPU
    memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / each:.2f}"} if each > 1 else {}
    return {"CUDA_VISIBLE_DEVICES": found[index % len(found)], **memory}


def share(index: int, num_workers: int) -> list[int]:
    """The cores of a worker: an equal part of those of this process, one at least."""
    parts = np.array_split(cores(), num_workers)
    return [int(core) for core in parts[index]] or [cores()[index % len(cores())]]


def cores() -> list[int]:
    """The processor cores that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, found without starting JAX; none where JAX is told to use the CPU."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    devices = pathlib.Path("/dev").glob("nvidia[0-9]*")
    return [str(number) for number in sorted(int(path.name.removeprefix("nvidia")) for path in devices)]


def be_worker(chosen: Sequence[int]) -> None:
    """Restricts this process to some cores, and has it stop and save when the process that started it is gone.

    Call it before JAX starts: XLA makes as many threads as there are cores.
    """
    if chosen and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, chosen)
    with contextlib.suppress(OSError, AttributeError):  # on Linux alone
        import ctypes

        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def _pending(workdir: pathlib.Path, points: Sequence[Point]) -> list[Point]:
    return [point for point in points if directory.status(workdir, point.name).state is State.PENDING]


def _started(
    workdir: pathlib.Path, command: Sequence[str], index: int, num_workers: int, points: Sequence[Point]
) -> _Worker:
    log = workdir / LOGS / f"worker_{index}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    chosen = [] if gpus() else [f"--cores={','.join(map(str, share(index, num_workers)))}"]
    names = [f"--point={point.name}" for point in points]
    # A session of its own: Ctrl-C at the terminal reaches the sweep alone, which passes it on once.
    with open(log, "a") as file:
        process = subprocess.Popen(
            [*command, "--worker", *chosen, *names],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | environment(index, num_workers),
            start_new_session=True,
        )
    return _Worker(index, process, log, len(points))


def _report(worker: _Worker, fail_fast: bool, *, made_progress: bool) -> None:
    """Says why a worker ended; raises UserError where another one would end in the same way."""
    code, lines = worker.process.returncode, worker.log.read_text(errors="replace").splitlines()
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    last = f": {lines[-1]}" if lines and code > 0 else ""
    if (fail_fast and code == 2) or not made_progress:
        raise UserError(f"a worker {how}{last} ({worker.log})")
    print(f"worker {worker.index} {how}{last}; another one takes the points that are left", flush=True)


def _stop(workers: Sequence[_Worker]) -> None:
    """Has workers save and end, and waits for them."""
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            worker.process.terminate()
    for worker in workers:
        worker.process.wait()
