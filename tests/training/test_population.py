"""Training with a loss that remembers generated samples: by their moments, saved, resumed, and refused in parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import evaluation, losses, processes, schedules, training
from diffax.denoisers import time_inputs
from diffax.evaluation import frechet
from diffax.processes import time_sampling

DATA = np.random.default_rng(0).normal(size=(200, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]]) + 1
MOMENTS = evaluation.Moments.of(DATA)
HYPERPARAMETERS = training.Hyperparameters(
    learning_rate=0.05,
    averagings=(training.ema.Constant(0.9),),
    schedule=schedules.Flow(),
    parameterization=processes.FlowVelocity(),
    weighting=losses.weighting.Flow(),
    time_density=time_sampling.Uniform(),
    representation=losses.Representation(
        jax.tree_util.Partial(lambda x: x), MOMENTS.mean, frechet.root(MOMENTS.covariance)
    ),
)
BATCH = {"x": jnp.zeros((32, 2))}


def affine(params, x, time_input, condition, *, key=None):
    return x - (x @ params["w"] + params["b"][None])


def state_of():
    start = {"w": jnp.eye(2), "b": jnp.zeros(2)}
    return training.init_state(3, lambda key: start, training.adam(), HYPERPARAMETERS)


def exact_distance(params):
    w, b = (np.asarray(params[name], np.float64) for name in ("w", "b"))
    return frechet.distance(evaluation.Moments(1000, b, 999 * w.T @ w), MOMENTS)


DISTANCE = functools.partial(losses.frechet_distance, decay=0.9)
LOSS = training.make_loss(affine, time_input=time_inputs.scaled, loss=DISTANCE, needs_representation=True)
STEP = jax.jit(training.make_train_step(LOSS, training.adam(), lambda step: 1.0))


def test_an_affine_generator_learns_the_moments_and_goes_on_from_its_checkpoint():
    states, values = [state_of()], []
    for _ in range(90):
        state, metrics = STEP(states[-1], BATCH)
        states.append(state)
        values.append(float(metrics["loss"]))
    # The exact distance of N(b, w^T w) from the data's moments; what the steps saw is that of samples.
    distances = [exact_distance(state.params) for state in (states[0], states[-1])]
    assert distances[0] > 2 and distances[1] < 0.05 * distances[0] and values[-1] < 0.05 * values[0]
    # What the state remembers: the moments of all samples so far.
    assert int(states[3].population.num_batches) == 3
    np.testing.assert_allclose(states[3].population.squares, 1 / 96, rtol=1e-5)
    saved = states[80].saved()
    assert "population" in saved
    state = state_of().with_saved(jax.tree.map(lambda leaf: leaf, saved))
    for _ in range(10):
        state, _ = STEP(state, BATCH)
    for name in ("params", "population"):
        kept = [jax.tree.leaves(getattr(one, name)) for one in (state, states[-1])]
        for ours, theirs in zip(*kept, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_step_that_is_not_finite_leaves_the_population():
    state, _ = STEP(state_of(), BATCH)
    broken = jax.tree.map(jnp.copy, state)
    broken.params["b"] = broken.params["b"] * jnp.nan
    after, metrics = STEP(broken, BATCH)
    assert int(metrics["skipped"]) == 1
    for ours, theirs in zip(after.population, state.population, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_evaluation_is_of_its_batch_alone_and_needs_the_features():
    state = state_of()
    keys = training.evaluation_keys(state.key, 32)
    each = jax.jit(LOSS)(state.params, state.hyperparameters, BATCH, keys)
    assert each.shape == (32,)
    without = jax.tree.map(lambda leaf: leaf, state.hyperparameters)
    object.__setattr__(without, "representation", None)
    with pytest.raises(ValueError, match=r"compares samples in features \(loss.features\), which only a run in train"):
        LOSS(state.params, without, BATCH, keys)
