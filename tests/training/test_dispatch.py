"""Several steps in one call against as many calls."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import data, losses, processes, schedules, training
from diffax.denoisers import time_inputs
from diffax.processes import time_sampling
from diffax.training import accumulation

NUMBERS = training.Numbers(
    learning_rate=0.1,
    averagings=(training.ema.Constant(0.9),),
    schedule=schedules.Flow(),
    parameterization=processes.FlowVelocity(),
    weighting=losses.weighting.Flow(),
    time_density=time_sampling.Uniform(),
)


def network(params, x, time_input, condition, *, key=None):
    return jnp.tanh(x @ params["w"]) @ params["w"].T


@pytest.mark.parametrize("unrolled", [True, False])
def test_as_many_single_steps(monkeypatch, unrolled):
    """Of batches from the host and of data on the device, from step 2 over the end of two epochs."""
    monkeypatch.setattr(accumulation, "unrolled", lambda: unrolled)
    examples = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    points = data.dataset.Dataset(name="points", examples=examples)
    loss = training.make_loss(network, time_input=time_inputs.scaled)
    step = training.make_train_step(loss, training.adam(), lambda step: 1.0)
    single, three = jax.jit(step), jax.jit(training.several_steps(step, 3))
    state = training.init_state(3, lambda key: {"w": jax.random.normal(key, (3, 5))}, training.adam(), NUMBERS)
    state = dataclasses.replace(state, step=state.step + 2)
    pipeline = data.pipeline.Pipeline(points, 4, 1)

    one_by_one, seen = state, []
    for batch in itertools.islice(pipeline.batches(2), 6):
        one_by_one, metrics = single(one_by_one, batch)
        seen.append(float(metrics["loss"]))
    stacks = data.pipeline.stacked(pipeline.batches(2), 3)
    for batches in (stacks, data.resident.batches(points, 4, 1, 2, stride=3)):
        at_once, losses_seen = state, []
        for batch in itertools.islice(batches, 2):
            at_once, metrics = three(at_once, batch)
            losses_seen += metrics["loss"].tolist()
        np.testing.assert_allclose(losses_seen, seen, rtol=1e-5)
        np.testing.assert_allclose(at_once.params["w"], one_by_one.params["w"], rtol=1e-5)
        assert int(at_once.step) == int(one_by_one.step)


def test_intervals_are_multiples():
    training.check_multiples(5, num_steps=100, log_every=5)
    with pytest.raises(ValueError, match=r"log_every must be a multiple of train.steps_per_dispatch = 5, got 7"):
        training.check_multiples(5, num_steps=100, log_every=7)
    with pytest.raises(ValueError, match="must be >= 1, got 0"):
        training.check_multiples(0)
