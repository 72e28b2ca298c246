"""What a plan says, against what is there."""

import dataclasses
import importlib
import re

import jax
import pytest

from diffax import build
from diffax.jobs import plan
from diffax.jobs.model import Model
from tests.jobs.test_launch import POINTS, config


@pytest.fixture
def spiral():
    made = importlib.import_module("configs.spiral_ddpm").get_config()
    made.model.update(hidden=64, depth=2)
    made.train.batch_size = 256
    return made


def test_a_plan_of_a_run(command, tmp_path):
    code, out, err = command("--config", config("spiral_ddpm"), "--workdir", tmp_path / "run", "--mode=plan", *POINTS)
    assert code == 0, err
    assert "a batch of 4" in out and "fits" in out and "a guess until a run has measured its share" in out
    assert not (tmp_path / "run").exists()
    command("--config", config("spiral_ddpm"), "--workdir", tmp_path / "run", *POINTS)
    code, out, _ = command("--config", config("spiral_ddpm"), "--workdir", tmp_path / "run", "--mode=plan", *POINTS)
    assert code == 0 and "0s to step 3" in out and "measured in this run" in out


def test_numbers_of_a_plan(spiral, tmp_path):
    made = plan.run(spiral, tmp_path)
    state = jax.jit(Model.build(spiral).init_state)()
    leaves = jax.tree.leaves(state)
    assert made.num_params == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert made.state_bytes == sum(
        (jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf).nbytes
        for leaf in leaves
    )
    # A dense layer (n, m) takes 2 n m operations an example forward and twice that back, but for the first input.
    kernels = sum(leaf.size for leaf in jax.tree.leaves(state.params) if leaf.ndim == 2)
    assert 4 * kernels * 256 < made.flops < 12 * kernels * 256


def test_the_largest_batch_fits_and_a_larger_one_does_not(spiral, tmp_path):
    limit = 3 * plan.run(spiral, tmp_path).peak_bytes
    promised = plan.run(spiral, tmp_path, memory_gb=limit / 1e9).largest_batch
    model, mesh = Model.build(spiral), build.mesh(spiral)
    held = plan._resident_bytes(spiral, model)

    def peak(batch_size):
        return held + plan._peak_of(model, mesh, batch_size, 1)

    assert promised > 256 and peak(promised) <= 1.02 * limit < peak(int(1.1 * promised))


def test_what_to_do_where_it_does_not_fit(spiral, tmp_path, capsys):
    spiral.data.resident = False
    peak = plan.run(spiral, tmp_path).peak_bytes
    made = plan.run(spiral, tmp_path, memory_gb=0.8 * peak / 1e9)
    number = int(re.search(r"--config.train.accumulate=(\d+) takes", made.advice)[1])
    spiral.train.accumulate = number
    assert plan.run(spiral, tmp_path).peak_bytes <= 0.8 * peak
    assert "does not fit" in capsys.readouterr().out
    nothing = plan.run(spiral, tmp_path, memory_gb=1e-6)
    assert "no number of parts fits" in nothing.advice and dataclasses.asdict(nothing)["largest_batch"] == 0
