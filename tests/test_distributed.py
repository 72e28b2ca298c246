"""Detection of multi-process runs; runs of several processes are in tests/jobs/test_scaling.py."""

import jax
import pytest

from diffax import distributed
from diffax.jobs import train
from diffax.runs import UserError

SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "node[1-2]", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
OPEN_MPI = {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1"}
VARIABLES = [*SLURM, "SLURM_NTASKS", *OPEN_MPI, "OMPI_COMM_WORLD_SIZE", "KUBERNETES_SERVICE_HOST"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        (SLURM | {"SLURM_NTASKS": "2"}, True),
        (SLURM | {"SLURM_NTASKS": "1"}, False),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, False),  # a batch script, without srun
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "4"}, True),
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),  # any pod
    ],
)
def test_a_cluster_is_one_where_others_were_started_too(monkeypatch, environment, expected):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    calls = []
    monkeypatch.setattr(distributed.jax.distributed, "initialize", lambda *arguments, **_: calls.append(arguments))
    distributed.start()
    assert calls == ([(None, None, None)] if expected else [])
    assert not distributed.start(num_processes=1) and len(calls) == expected


def test_a_tpu_without_a_cluster_is_alone(monkeypatch):
    def refuse(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(distributed, "_is_one_of_several", lambda: True)
    monkeypatch.setattr(distributed.jax.distributed, "initialize", refuse)
    assert not distributed.start()


def test_half_a_description_of_the_others_is_refused():
    with pytest.raises(ValueError, match="all three of --coordinator"):
        distributed.start("host:1", 2)
    with pytest.raises(ValueError, match=r"process_id must be in 0\.\.1, got 2"):
        distributed.start("host:1", 2, 2)
    with pytest.raises(ValueError, match="must be HOST:PORT, got host"):
        distributed.start("host", 2, 1)


def test_a_save_that_fails_since_another_process_died_is_no_full_disk(tmp_path, monkeypatch):
    failure = OSError(
        "the checkpoint of step 15 could not be written: UNKNOWN: Gloo AllGather failed: Connection closed"
    )
    with pytest.raises(UserError, match="is the disk full"), train.failing_to_write(tmp_path):
        raise failure
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(jax.errors.JaxRuntimeError, match="Gloo AllGather failed"), train.failing_to_write(tmp_path):
        raise failure
    with pytest.raises(UserError, match="No space left"), train.failing_to_write(tmp_path):
        raise OSError(28, "No space left on device")
