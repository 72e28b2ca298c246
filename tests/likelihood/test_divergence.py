"""Divergences of fields with a known Jacobian: the exact one, and the mean and variance of Hutchinson's estimates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.likelihood import divergence

RNG = np.random.default_rng(0)
MATRICES = RNG.normal(size=(3, 6, 6))  # of each sample
KEYS = jax.random.split(jax.random.key(0), 3)
X = RNG.normal(size=(3, 2, 3))
TRACES = np.trace(MATRICES, axis1=1, axis2=2)


def field(x):
    """x -> A x + x^2 by samples, whose Jacobian is A + 2 diag(x)."""
    matrices = jnp.asarray(MATRICES, x.dtype)
    linear = jnp.einsum("bij,bj->bi", matrices, x.reshape(3, 6)).reshape(x.shape)
    return linear + x**2


def test_the_exact_divergence_is_the_trace_of_the_jacobian(x64):
    value, [exact] = divergence.exact(field, jnp.asarray(X))
    np.testing.assert_allclose(value, field(jnp.asarray(X)), rtol=1e-12)
    np.testing.assert_allclose(exact, TRACES + 2 * X.sum((1, 2)), rtol=1e-12)


@pytest.mark.parametrize("draw", [divergence.rademacher, divergence.gaussian])
def test_estimates_are_unbiased_and_have_the_variance_that_is_known(x64, draw):
    num, x = 4000, jnp.asarray(X)
    probes = draw(KEYS, x, num_probes=num)
    assert probes.shape == (num, 3, 2, 3) and probes.dtype == x.dtype
    value, estimates = jax.jit(lambda x, probes: divergence.hutchinson(field, x, probes))(x, probes)
    np.testing.assert_allclose(value, field(x), rtol=1e-12)
    jacobians = MATRICES + 2 * np.stack([np.diag(one.ravel()) for one in X])
    twice = np.square(jacobians + jacobians.swapaxes(1, 2))
    off_diagonal = (twice.sum((1, 2)) - np.trace(twice, axis1=1, axis2=2)) / 2
    diagonal = np.square(np.diagonal(jacobians, axis1=1, axis2=2)).sum(1)
    variance = off_diagonal + (2 * diagonal if draw is divergence.gaussian else 0)
    assert np.all(np.abs(estimates.mean(0) - np.trace(jacobians, axis1=1, axis2=2)) < 4 * np.sqrt(variance / num))
    # The relative error of a variance is about sqrt((kurtosis - 1) / num), with a kurtosis below 15 here.
    np.testing.assert_allclose(estimates.var(0), variance, rtol=4 * np.sqrt(14 / num))


def test_one_probe_of_signs_is_exact_where_the_jacobian_is_diagonal(x64):
    x = jnp.asarray(X)
    _, [exact] = divergence.exact(jnp.tanh, x)
    _, [signs] = divergence.hutchinson(jnp.tanh, x, divergence.rademacher(KEYS, x, num_probes=1))
    _, [normal] = divergence.hutchinson(jnp.tanh, x, divergence.gaussian(KEYS, x, num_probes=1))
    np.testing.assert_allclose(signs, exact, rtol=1e-12)
    assert np.abs(normal - exact).min() > 1e-3


def test_the_probes_of_a_sample_are_those_of_its_key():
    x = jnp.zeros((3, 2))
    for draw in (divergence.rademacher, divergence.gaussian):
        probes = draw(KEYS, x, num_probes=5)
        np.testing.assert_array_equal(draw(KEYS[1:2], x[:1], num_probes=5)[:, 0], probes[:, 1])
        assert len({probes[:, i].tobytes() for i in range(3)}) == 3
    with pytest.raises(ValueError, match="num_probes must be >= 1, got 0"):
        divergence.rademacher(KEYS, x, num_probes=0)
    assert divergence.no_probes(KEYS, x) is None
