"""What a plan says, against what is there."""

import dataclasses
import importlib
import re

import jax
import numpy as np
import pytest

from diffax import build_data, build_training, resolve
from diffax.jobs import plan
from diffax.runs import DataDescription, Model, Program
from tests.jobs.test_launch import POINTS, config


@pytest.fixture
def spiral():
    config = importlib.import_module("configs.spiral").get_config()
    return changed(config, {"model.hidden": "64", "model.depth": "1", "train.batch_size": "256"})


def changed(config, changes):
    return resolve.resolve(resolve.override(config, changes.items()))


def planned(config):
    examples = build_data.dataset(config, "train")
    model = Model.build(config, DataDescription.of(config, examples))
    return plan.Planned(model, examples, build_training.mesh(config))


def test_a_plan_of_a_run(command, tmp_path):
    code, out, err = command("--config", config("spiral"), "--workdir", tmp_path / "run", "--mode=plan", *POINTS)
    assert code == 0, err
    assert "a batch of 4" in out and "fits" in out and "a guess until a run has measured its share" in out
    assert not (tmp_path / "run").exists()
    command("--config", config("spiral"), "--workdir", tmp_path / "run", *POINTS)
    code, out, _ = command("--config", config("spiral"), "--workdir", tmp_path / "run", "--mode=plan", *POINTS)
    assert code == 0 and "0s to step 3" in out and "measured in this run" in out


def test_numbers_of_a_plan(spiral, tmp_path):
    made = plan.plan(spiral, tmp_path)
    parts = planned(spiral)
    state = Program.build(parts.model, parts.examples, parts.mesh).init_state()
    leaves = jax.tree.leaves(state)
    assert made.num_params == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert made.state_bytes == sum(
        (jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf).nbytes
        for leaf in leaves
    )
    # A dense layer (n, m) takes 2 n m operations an example forward and twice that back, but for the first input.
    kernels = sum(leaf.size for leaf in jax.tree.leaves(state.params) if leaf.ndim == 2)
    assert 4 * kernels * 256 < made.flops < 12 * kernels * 256


def test_the_step_is_neither_read_from_the_cache_nor_written_to_it(spiral, tmp_path, empty_cache):
    plan.plan(spiral, tmp_path)
    jax.jit(lambda x: x + 1)(np.ones(3))
    names = " ".join(path.name for path in empty_cache.iterdir())
    assert "lambda" in names and "train_step" not in names


def test_the_largest_batch_fits_and_a_larger_one_does_not(spiral, tmp_path):
    limit = 3 * plan.plan(spiral, tmp_path).peak_bytes
    promised = plan.plan(spiral, tmp_path, memory_gb=limit / 1e9).largest_batch

    def peak(batch_size):
        """Bytes of the step as training compiles it: what it is given, the data set among it, and what it needs."""
        parts = planned(changed(spiral, {"train.batch_size": str(batch_size)}))
        program = Program.build(parts.model, parts.examples, parts.mesh)
        batch = next(build_data.batches(parts.model.config, parts.examples, 0, parts.mesh))
        memory = program.lower(batch).compile().memory_analysis()
        given = sum(leaf.nbytes for leaf in jax.tree.leaves(batch)) + state_bytes(program)
        return given + memory.temp_size_in_bytes

    assert promised > 256 and peak(promised) <= 1.05 * limit < peak(int(1.2 * promised))


def state_bytes(program):
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(program.state))


def test_what_to_do_where_it_does_not_fit(spiral, tmp_path, capsys):
    spiral = changed(spiral, {"data.on_device": "False"})
    peak = plan.plan(spiral, tmp_path).peak_bytes
    made = plan.plan(spiral, tmp_path, memory_gb=0.8 * peak / 1e9)
    number = int(re.search(r"--config.train.accumulate=(\d+) takes", made.advice)[1])
    spiral = changed(spiral, {"train.accumulate": str(number)})
    assert plan.plan(spiral, tmp_path).peak_bytes <= 0.8 * peak
    assert "does not fit" in capsys.readouterr().out
    nothing = plan.plan(spiral, tmp_path, memory_gb=1e-6)
    assert "no number of parts fits" in nothing.advice and dataclasses.asdict(nothing)["largest_batch"] == 0
