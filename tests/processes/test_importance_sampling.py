"""Importance sampling of times by the second moments of losses, against a list of past losses kept in Python."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import schedules
from diffax.processes import importance_sampling, time_sampling

NUM, LENGTH = 6, 4
DENSITY = importance_sampling.LossSecondMoment(NUM, LENGTH, uniform_share=0.05)
SCHEDULE = schedules.Cosine()


def after(batches):
    """The density after batches of (index, loss), and the latest losses of each step."""
    update = jax.jit(lambda history, t, losses: DENSITY.with_history(history).updated(t, losses))
    history, past = DENSITY.init_history(), [collections.deque(maxlen=LENGTH) for _ in range(NUM)]
    for index, losses in batches:
        history = update(history, jnp.asarray((index + 1) / NUM, jnp.float32), jnp.asarray(losses, jnp.float32))
        for i, loss in zip(index, losses, strict=True):
            past[i].append(loss)
    return DENSITY.with_history(history), past


def test_it_remembers_the_latest_losses_of_each_step():
    """Also where a batch has more losses of one step than are remembered."""
    rng = np.random.default_rng(0)
    batches = [(rng.integers(0, NUM, 16) // rng.integers(1, 3), rng.gamma(1.0, size=16)) for _ in range(8)]
    for num in range(len(batches) + 1):
        density, past = after(batches[:num])
        losses, counts = (np.asarray(leaf) for leaf in density.history)
        assert counts.tolist() == [sum((index == i).sum() for index, _ in batches[:num]) for i in range(NUM)]
        for i in range(NUM):
            np.testing.assert_allclose(np.sort(losses[i])[LENGTH - len(past[i]) :], np.sort(past[i]), rtol=1e-6)
        moments = np.array([np.sqrt(np.mean(np.square(one))) if len(one) == LENGTH else np.nan for one in past])
        expected = 0.95 * moments / moments.sum() + 0.05 / NUM
        expected = np.full(NUM, 1 / NUM) if np.isnan(moments).any() else expected
        np.testing.assert_allclose(density.probabilities(), expected, rtol=1e-5)
    assert not np.isnan(moments).any()


@pytest.fixture(scope="module")
def warm():
    index = np.tile(np.arange(NUM), LENGTH)
    return after([(index, 10.0 ** -np.arange(NUM)[index])])[0]


def test_the_weighted_mean_is_the_uniform_one(warm):
    """Exactly over the steps, and over draws within their error, with a smaller one than uniform draws have."""
    steps = jnp.arange(1, NUM + 1, dtype=jnp.float32) / NUM
    losses = 10.0 ** -np.arange(NUM)
    share, weight = np.asarray(warm.probabilities(), np.float64), np.asarray(warm.importance_weight(steps), np.float64)
    assert share[0] > 0.8
    np.testing.assert_allclose(share.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose((share * weight * losses).sum(), losses.mean(), rtol=1e-6)
    t = warm.sample(jax.random.split(jax.random.key(0), 5000), SCHEDULE)
    index = np.round(np.asarray(t) * NUM).astype(int) - 1
    np.testing.assert_array_equal(t, np.asarray(steps)[index])
    counts = np.bincount(index, minlength=NUM)
    assert np.all(np.abs(counts - 5000 * share) < 5 * np.sqrt(5000 * share))
    values = np.asarray(warm.importance_weight(t), np.float64) * losses[index]
    assert abs(values.mean() - losses.mean()) < 4 * values.std() / 5000**0.5
    assert values.std() < 0.2 * losses.std()


def test_it_stands_in_for_uniform_times(warm):
    t = jnp.asarray([1 / NUM, 0.5, 1.0], jnp.float32)
    uniform = time_sampling.DiscreteUniform(NUM)
    for density in (warm, DENSITY):
        np.testing.assert_array_equal(density.log_density(SCHEDULE, t), uniform.log_density(SCHEDULE, t))
    keys = jax.random.split(jax.random.key(1), 50)
    np.testing.assert_array_equal(DENSITY.sample(keys, SCHEDULE), uniform.sample(keys, SCHEDULE))
    np.testing.assert_allclose(DENSITY.importance_weight(t), 1, rtol=1e-6)
    assert isinstance(DENSITY, importance_sampling.Adaptive) and isinstance(DENSITY, time_sampling.TimeDensity)
    assert not isinstance(uniform, importance_sampling.Adaptive)


def test_losses_of_nought_leave_times_uniform():
    index = np.tile(np.arange(NUM), LENGTH)
    np.testing.assert_allclose(after([(index, 0.0 * index)])[0].probabilities(), 1 / NUM, rtol=1e-6)
