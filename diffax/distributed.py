"""Multi-process (multi-host) runs: initialization, barriers, and shutdown when another process has died.

Importing this module starts nothing. Call `start` before JAX computes anything.
"""

import importlib.util
import os
import pathlib
import sys
from typing import NoReturn

import jax

# The heartbeat timeout after which the other processes consider a process dead. JAX's default of 100 s delays the
# reaction too long. A network failure longer than this ends the run, which can be resumed from its last checkpoint.
HEARTBEAT_SECONDS = 30


def start(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> bool:
    """Initializes JAX's distributed runtime; True if this run has several processes.

    Without arguments the processes are found through the cluster, if JAX supports it (SLURM, Open MPI, Kubernetes,
    Cloud TPU) and it has more than one process. num_processes = 1 is a single process on any cluster.

    Args:
      coordinator: HOST:PORT of process 0, the same for all processes.
      num_processes: the number of processes of the run.
      process_id: the rank of this process, 0 .. num_processes - 1.

    Raises:
      ValueError: some of the three arguments without the others, or invalid values.
      RuntimeError: the other processes did not connect.
    """
    if num_processes == 1 and coordinator is None:
        return False
    arguments = (coordinator, num_processes, process_id)
    if all(value is None for value in arguments):
        if not _is_one_of_several():
            return False
    elif coordinator is None or num_processes is None or process_id is None:
        raise ValueError(
            "several processes are given by all three of --coordinator HOST:PORT --num_processes N --process_id I, or "
            f"by none on a cluster that JAX knows; got {coordinator}, {num_processes}, {process_id}"
        )
    elif not 0 <= process_id < num_processes:
        raise ValueError(f"--process_id must be in 0..{num_processes - 1}, got {process_id}")
    elif not coordinator.rpartition(":")[2].isdecimal():
        raise ValueError(f"--coordinator must be HOST:PORT, got {coordinator}")
    # JAX waits for up to five minutes and then aborts the process, hence a message before the wait.
    print(f"Meeting the other processes{f' at {coordinator}' if coordinator else ''}", flush=True)
    try:
        jax.distributed.initialize(*arguments, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except ValueError:
        if coordinator is not None:
            raise
        return False  # a TPU that is not part of a cluster
    return jax.process_count() > 1


def meet(name: str) -> None:
    """A barrier: returns when every process has called it; at once in a run of a single process."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def is_first() -> bool:
    """Whether this is process 0, which prints and writes for all processes."""
    return jax.process_index() == 0


def lost_another(error: BaseException) -> bool:
    """Whether an error of JAX, Gloo, NCCL or the coordination service means that another process has died."""
    signs = ("gloo", "nccl", "connection closed", "connection reset", "heartbeat", "coordination", "unavailable")
    return jax.process_count() > 1 and any(sign in str(error).lower() for sign in signs)


def leave(exit_code: int) -> NoReturn:
    """Exits immediately, without JAX's shutdown barrier, which would wait for the process that has died."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _is_one_of_several() -> bool:
    """Whether JAX would detect a cluster with several processes; JAX has no public function for this."""
    environment = os.environ
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")
    if all(name in environment for name in slurm):  # inside srun
        return int(environment["SLURM_NTASKS"]) > 1
    if "OMPI_MCA_orte_hnp_uri" in environment:
        return int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
    # A pod of an indexed Job or JobSet. JAX gets the rest from the cluster through the package kubernetes.
    if "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment:
        return importlib.util.find_spec("kubernetes") is not None
    # Also true on a TPU with one host, where a run of one process is initialized as well.
    has_tpu = any(pathlib.Path(path).exists() for path in ("/dev/accel0", "/dev/vfio/0"))
    return has_tpu and importlib.util.find_spec("libtpu") is not None
