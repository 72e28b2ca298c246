"""Points as jobs of a SLURM cluster, one each, through submitit (extra `slurm`)."""

import contextlib
import os
import pathlib
import subprocess
from collections.abc import Sequence
from typing import Any

from diffax.runs.errors import Preempted, UserError
from diffax.sweeps.points import Point

FOLDER = "slurm"
PREEMPTED = 75  # the exit code of launch.py


class Job:
    """The command of one point, as submitit calls it in the cluster.

    Before the time limit or a preemption submitit calls `checkpoint`: the command is stopped, which saves, and the job
    is put into the queue again.
    """

    def __init__(self, command: Sequence[str], folder: str):
        self.command, self.folder = list(command), folder
        self._process: subprocess.Popen | None = None

    def __call__(self) -> int:
        """Runs the command; returns its exit code.

        Raises:
          Preempted: it was stopped and has saved.
        """
        # srun's variables would make JAX wait for the other processes of a run; this is one by itself.
        self._process = subprocess.Popen([*self.command, "--num_processes=1"], cwd=self.folder)
        try:
            code = self._process.wait()
        finally:
            self._process = None
        if code == PREEMPTED:
            raise Preempted("stopped, and saved; the same command goes on")
        return code

    def checkpoint(self) -> Any:
        """What submitit puts into the queue again: this job, whose command is stopped first."""
        import submitit

        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            with contextlib.suppress(ChildProcessError):
                # Not Popen.wait, whose lock the interrupted __call__ holds.
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Job(self.command, self.folder))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_process": None}


def submit(
    workdir: pathlib.Path,
    points: Sequence[Point],
    command: Sequence[str],
    *,
    cluster: str | None = None,
    parameters: dict[str, Any] | None = None,
) -> list[Any]:
    """Submits a job for each point; returns submitit's jobs.

    Args:
      command: of this sweep; the name of the point is appended to it.
      cluster: slurm, local (processes on this machine) or debug (in this process); None for slurm where it is found.
      parameters: of submitit's AutoExecutor.update_parameters, such as slurm_partition, timeout_min, gpus_per_node.

    Raises:
      UserError: submitit is not installed, there is no such cluster, or parameters that submitit refuses.
    """
    # Its own configuration of logging closes the streams of other packages' handlers.
    os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise UserError("--where slurm needs the extra slurm: pip install 'diffax[slurm]'") from error
    try:
        executor = submitit.AutoExecutor(folder=workdir / FOLDER, cluster=cluster or "slurm")
        executor.update_parameters(name=f"diffax-{workdir.name}"[:80], **(parameters or {}))
        jobs = []
        with executor.batch():
            for point in points:
                jobs.append(executor.submit(Job([*command, f"--point={point.name}"], os.getcwd())))
    except (RuntimeError, ValueError, TypeError, NameError, OSError) as error:
        raise UserError(f"--where slurm: {' '.join(str(error).split())}") from error
    return jobs


def parsed_parameters(text: str) -> dict[str, Any]:
    """{"timeout_min": 60, "slurm_partition": "gpu"} of "timeout_min=60,slurm_partition=gpu".

    Raises:
      UserError: an entry without a value.
    """
    entries = [entry.partition("=") for entry in text.split(",") if entry.strip()]
    wrong = [key for key, separator, _ in entries if not separator]
    if wrong:
        raise UserError(f"--slurm must be KEY=VALUE,KEY=VALUE, got {wrong[0]!r}")
    return {key.strip(): int(value) if value.strip().isdecimal() else value.strip() for key, _, value in entries}
