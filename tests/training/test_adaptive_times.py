"""Training with times that follow the losses: unbiased, and its history saved, resumed and divided like the rest."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import losses, processes, schedules, training
from diffax.denoisers import time_inputs
from diffax.processes import importance_sampling, time_sampling

NUM = 4
HYPERPARAMETERS = training.Hyperparameters(
    learning_rate=0.02,
    averagings=(training.ema.Constant(0.9),),
    schedule=schedules.Flow(),
    parameterization=processes.FlowVelocity(),
    weighting=losses.weighting.Flow(),
    time_density=importance_sampling.LossSecondMoment(NUM, 3, uniform_share=0.1),
)
BATCHES = [{"x": jnp.asarray(np.random.default_rng(i).normal(size=(8, 1)), jnp.float32)} for i in range(8)]


def linear(params, x, time_input, condition, *, key=None):
    return params["w"] * x


def state_of(hyperparameters=HYPERPARAMETERS):
    return training.init_state(3, lambda key: {"w": jnp.full((1, 1), 0.5)}, training.adam(), hyperparameters)


def step_of(**options):
    loss = training.make_loss(linear, time_input=time_inputs.scaled)
    return jax.jit(training.make_train_step(loss, training.adam(), lambda step: 1.0, **options))


@functools.cache
def course():
    """The states before and after each of eight steps, and the losses."""
    step, states, values = step_of(), [state_of()], []
    for batch in BATCHES:
        state, metrics = step(states[-1], batch)
        states.append(state)
        values.append(float(metrics["loss"]))
    return states, values


def history_of(state):
    return [np.asarray(leaf) for leaf in state.history]


def test_the_history_is_of_the_losses_of_the_steps():
    """The loss of each example of the last batch, at its own time, is in it; times are no longer uniform."""
    states, values = course()
    before, after = states[-2:]
    density = HYPERPARAMETERS.time_density.with_history(before.history)
    keys = training.state.sample_keys(before.key, before.step, 8)
    t = training.step.draw_times(density, HYPERPARAMETERS.schedule, keys)
    loss = training.make_loss(linear, time_input=time_inputs.scaled)
    each = np.asarray(loss(before.params, before.hyperparameters, BATCHES[-1], keys, t))
    weights = np.asarray(density.importance_weight(t))
    assert weights.std() > 0.1
    np.testing.assert_allclose(values[-1], np.mean(weights * each), rtol=1e-5)
    past, counts = history_of(after)
    assert counts.sum() == 64 and counts.min() >= 3
    for i in range(NUM):
        latest = each[np.round(np.asarray(t) * NUM).astype(int) - 1 == i][-3:]
        assert all(np.isclose(past[i], one, rtol=1e-5).any() for one in latest)


def test_a_run_goes_on_exactly_from_its_checkpoint():
    states, _ = course()
    saved = jax.tree.map(lambda leaf: leaf, states[5].saved())
    assert {"history", "params", "ema"} <= set(saved)
    state, step = state_of().with_saved(saved), step_of()
    for batch in BATCHES[5:]:
        state, _ = step(state, batch)
    for ours, theirs in zip(history_of(state), history_of(states[-1]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(state.params["w"], states[-1].params["w"])


def test_parts_of_a_batch_have_its_history():
    states, values = course()
    step, state = step_of(accumulate=2), state_of()
    for batch, value in zip(BATCHES, values, strict=True):
        state, metrics = step(state, batch)
        assert float(metrics["loss"]) == pytest.approx(value, rel=1e-5)
    for ours, theirs in zip(history_of(state), history_of(states[-1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_a_step_that_is_not_finite_leaves_the_history():
    states, _ = course()
    state, metrics = step_of()(states[3], {"x": BATCHES[3]["x"] * jnp.nan})
    assert int(metrics["skipped"]) == 1
    for ours, theirs in zip(history_of(state), history_of(states[3]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_state_without_a_history_saves_none():
    state = state_of(dataclasses.replace(HYPERPARAMETERS, time_density=time_sampling.Uniform()))
    assert state.history == () and "history" not in state.saved()
    assert state.with_saved(state.saved()).history == ()
