"""The Frechet distance as a loss: against the metric of evaluation, finite differences, and sums over batches."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import evaluation, losses, processes, schedules
from diffax.evaluation import frechet
from diffax.losses import weighting
from diffax.processes import time_sampling

RULES = {"weighting": weighting.Flow(), "time_density": time_sampling.Uniform()}
FLOW = (schedules.Flow(), processes.FlowVelocity())
DIM = 6


def sets(seed, *sizes, rank=DIM):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((size, rank)) @ rng.standard_normal((rank, DIM)) + i for i, size in enumerate(sizes)]


def representation_of(data, features=lambda x: x):
    moments = evaluation.Moments.of(data)
    return losses.Representation(
        jax.tree_util.Partial(features), jnp.asarray(moments.mean), jnp.asarray(frechet.root(moments.covariance))
    )


def of_batch(samples, representation, **options):
    """The loss of a generator whose samples are these."""
    samples = jnp.asarray(samples)
    keys = jax.random.split(jax.random.key(0), len(samples))

    def predict(x_t, t, s=None, *, key=None):
        return x_t - samples

    return losses.frechet_distance(keys, predict, *FLOW, samples, representation=representation, **RULES, **options)


# Ranks of samples and data: regular, samples in a subspace, data in one, both in different ones.
@pytest.mark.parametrize("ranks", [(DIM, DIM), (3, DIM), (DIM, 2), (3, 3)])
def test_value_and_gradient_with_singular_covariances_too(ranks):
    """The value is the metric's; the gradient, along changes that keep the rank, is that of the metric."""
    (samples,), (data,) = sets(0, 40, rank=ranks[0]), sets(1, 50, rank=ranks[1])
    rng = np.random.default_rng(2)
    # Within the subspace of the samples: beyond it the root of a singular covariance has no derivative.
    change = rng.standard_normal((40, 40)) @ (samples - samples.mean(0)) / 20 + 0.3

    def metric(strength):
        return frechet.distance_between(samples + strength * change, data)

    with jax.enable_x64(True):
        representation = representation_of(data)
        loss = jax.jit(jax.value_and_grad(lambda x, representation: of_batch(x, representation).mean()))
        value, gradient = loss(jnp.asarray(samples), representation)
    slope = np.sum(np.asarray(gradient) * change)
    assert value == pytest.approx(metric(0.0), rel=1e-6)
    # Eigenvalues that are 0 to rounding have roots of 1e-8 in the metric, which a small step would magnify.
    step, tolerance = (1e-5, 1e-5) if ranks == (DIM, DIM) else (1e-3, 2e-4)
    expected = (metric(step) - metric(-step)) / (2 * step)
    assert slope == pytest.approx(expected, rel=tolerance) and abs(expected) > 1e-2


def test_equal_moments_have_no_distance_and_no_gradient():
    [data] = sets(3, 30)
    with jax.enable_x64(True):
        representation = representation_of(data)
        loss = jax.jit(jax.value_and_grad(lambda x: of_batch(x, representation).mean()))
        near, away = (jax.tree.map(np.asarray, loss(jnp.asarray(data + shift))) for shift in (0, 0.1))
    assert abs(near[0]) < 1e-10 and np.abs(near[1]).max() < 1e-10 and np.abs(away[1]).max() > 1e-3


def test_a_population_is_that_of_all_batches_and_then_moves_on():
    """Until 1 / (1 - decay) batches its moments are those of their union, without bias; then old ones fade."""
    batches = sets(4, 10, 10, 10, 10, 10, 10)
    [data] = sets(5, 50)
    with jax.enable_x64(True):
        representation = representation_of(data)
        population, values = representation.init_population(), []
        step = jax.jit(functools.partial(of_batch, decay=0.75))
        for batch in batches:
            each, population = step(batch, representation.with_population(population))
            values.append(float(each[0]))
        mean, covariance = np.asarray(population.mean), np.asarray(population.unbiased_covariance)
    for num in range(1, 5):
        union = np.concatenate(batches[:num])
        with pytest.warns(UserWarning) if len(union) <= DIM else contextlib.nullcontext():
            assert values[num - 1] == pytest.approx(frechet.distance_between(union, data), rel=1e-6)
    # Weights of the six batches: 1/4 each after four of them, then 3/4 of these and 1/4 of the next.
    weights = np.array([0.25 * 0.75**2] * 4 + [0.25 * 0.75, 0.25])
    weights = np.repeat(weights, 10) / 10
    union = np.concatenate(batches)
    np.testing.assert_allclose(mean, weights @ union, rtol=1e-10)
    np.testing.assert_allclose(covariance, np.cov(union.T, aweights=weights), rtol=1e-9)
    assert int(population.num_batches) == 6


def test_the_gradient_passes_through_the_latest_batch_and_features():
    before, samples, data = sets(6, 30, 20, 50)
    with jax.enable_x64(True):
        representation = representation_of(np.tanh(data), jnp.tanh)
        start = representation.with_population(representation.init_population())
        _, population = jax.jit(of_batch)(before, start)
        now = representation.with_population(population)
        value, gradient = jax.jit(jax.value_and_grad(lambda x: of_batch(x, now)[0].mean()))(jnp.asarray(samples))
    gradient = np.asarray(gradient)

    def metric(x):
        """Equal weights of two batches of different size, by NumPy."""
        values, weights = np.tanh(np.concatenate([before, x])), np.repeat([0.5 / 30, 0.5 / 20], [30, 20])
        moments = evaluation.Moments(2, weights @ values, np.cov(values.T, aweights=weights))
        return frechet.distance(moments, evaluation.Moments.of(np.tanh(data)))

    with pytest.warns(UserWarning):  # of a population of two, by the count given above
        assert value == pytest.approx(metric(samples), rel=1e-6)
        for i, j in ((0, 0), (7, 3)):
            step = np.zeros_like(samples)
            step[i, j] = 1e-5
            expected = (metric(samples + step) - metric(samples - step)) / 2e-5
            assert gradient[i, j] == pytest.approx(expected, rel=1e-4)


def test_float32_is_enough():
    samples, data = sets(7, 200, 300)
    value = float(jax.jit(of_batch)(samples.astype(np.float32), representation_of(data.astype(np.float32)))[0])
    assert value == pytest.approx(frechet.distance_between(samples, data), rel=1e-4)


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (4, {"decay": 1.0}, "loss.decay must be from 0 to below 1, got 1"),
        (1, {}, "needs batches of 2 examples at least, got 1"),
        (4, {"representation": None}, "needs a representation with the moments of the data"),
    ],
)
def test_refused(size, options, message):
    [data] = sets(8, 20)
    options = {"representation": representation_of(data)} | options
    with pytest.raises(ValueError, match=message):
        of_batch(jnp.zeros((size, DIM)), **options)
