"""Several processes as one run: how they find each other, and how the others end when one dies.

Importing this starts nothing; `start` comes before JAX computes anything.
"""

import importlib.util
import os
import pathlib
import sys
from typing import NoReturn

import jax

# A process that says nothing for so long is dead to the others. JAX's 100 s are too long to wait for news; a network
# out for longer than this ends a run, which goes on from its last checkpoint.
HEARTBEAT_SECONDS = 30


def start(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> bool:
    """Joins the other processes of this run, if there are any; True if there are.

    Told nothing, it joins where JAX knows the cluster (SLURM, Open MPI, Kubernetes, Cloud TPU) and there is more than
    one process in it; num_processes = 1 is one process whatever the cluster.

    Args:
      coordinator: HOST:PORT of process 0, the same for all.
      process_id: 0 .. num_processes - 1.

    Raises:
      ValueError: some of the three without the others, or numbers that cannot be.
      RuntimeError: the others were not met.
    """
    if num_processes == 1 and coordinator is None:
        return False
    given = (coordinator, num_processes, process_id)
    if all(value is None for value in given):
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
    # For five minutes at most; JAX then aborts the process, which ought not to have waited in silence.
    print(f"Meeting the other processes{f' at {coordinator}' if coordinator else ''}", flush=True)
    try:
        jax.distributed.initialize(*given, heartbeat_timeout_seconds=HEARTBEAT_SECONDS)
    except ValueError:
        if coordinator is not None:
            raise
        return False  # a TPU that is no part of a cluster
    return jax.process_count() > 1


def meet(name: str) -> None:
    """Returns when every process has come here; at once where there is only one."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def is_first() -> bool:
    """Whether this is the process that prints and writes for all."""
    return jax.process_index() == 0


def lost_another(error: BaseException) -> bool:
    """Whether this is how JAX, Gloo, NCCL or the coordinator report that another process is gone."""
    signs = ("gloo", "nccl", "connection closed", "connection reset", "heartbeat", "coordination", "unavailable")
    return jax.process_count() > 1 and any(sign in str(error).lower() for sign in signs)


def leave(exit_code: int) -> NoReturn:
    """Ends this process without the farewell that JAX waits for at exit: the other one will not say it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _is_one_of_several() -> bool:
    """Whether JAX would find a cluster here, with more processes than this one. JAX itself has no public question."""
    environment = os.environ
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")
    if all(name in environment for name in slurm):  # inside srun, that is
        return int(environment["SLURM_NTASKS"]) > 1
    if "OMPI_MCA_orte_hnp_uri" in environment:
        return int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1
    # A pod of an indexed Job or JobSet; JAX asks the cluster for the rest through the package kubernetes.
    if "KUBERNETES_SERVICE_HOST" in environment and "JOB_COMPLETION_INDEX" in environment:
        return importlib.util.find_spec("kubernetes") is not None
    # Also true of a TPU with one host, on which a run of one process starts as well.
    has_tpu = any(pathlib.Path(path).exists() for path in ("/dev/accel0", "/dev/vfio/0"))
    return has_tpu and importlib.util.find_spec("libtpu") is not None
