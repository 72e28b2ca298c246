"""KL divergences of Gaussians and decoders, against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from diffax.processes import bounds


def levels(num):
    return np.linspace(-1, 1, num)


def test_kl_divergence_is_the_integral():
    rng = np.random.default_rng(0)
    for _ in range(5):
        mean_1, mean_2 = rng.normal(size=2)
        log_1, log_2 = rng.normal(size=2)
        first = scipy.stats.norm(mean_1, np.exp(log_1 / 2))
        second = scipy.stats.norm(mean_2, np.exp(log_2 / 2))

        def integrand(x, first=first, second=second):
            return first.pdf(x) * (first.logpdf(x) - second.logpdf(x))

        expected, _ = scipy.integrate.quad(integrand, mean_1 - 12, mean_1 + 12)
        np.testing.assert_allclose(bounds.kl_divergence(mean_1, log_1, mean_2, log_2), expected, rtol=1e-5)


@pytest.mark.parametrize("num_levels", [2, 17, 256])
def test_the_probabilities_of_all_levels_sum_to_one(num_levels):
    mean, std = np.meshgrid([0.0, 0.3, -0.999, 1.7, -40.0], [1e-4, 0.05, 0.7, 30.0])
    mean, log_variance = (jnp.asarray(value.reshape(-1, 1), jnp.float32) for value in (mean, 2 * np.log(std)))
    x = jnp.tile(jnp.asarray(levels(num_levels), jnp.float32), (len(mean), 1))
    logs = jax.jit(bounds.discretized_log_likelihood, static_argnums=3)(x, mean, log_variance, num_levels)
    assert np.isfinite(logs).all()
    np.testing.assert_allclose(np.exp(np.asarray(logs, np.float64)).sum(1), 1, rtol=2e-5)


def test_each_bin_against_quadrature(x64):
    """Also 40 standard deviations away, where the probability underflows and its log does not."""
    x, log_likelihood = levels(17), jax.jit(bounds.discretized_log_likelihood, static_argnums=3)
    half = (x[1] - x[0]) / 2
    for mean, std in ((0.13, 0.2), (0.97, 0.05), (-1.2, 0.4), (0.9, 0.03)):
        found = log_likelihood(jnp.asarray(x)[None], mean, 2 * np.log(std), 17)[0]
        for level, got in zip(x, found, strict=True):
            lower = -np.inf if level == x[0] else (level - half - mean) / std
            upper = np.inf if level == x[-1] else (level + half - mean) / std
            nearest = np.clip(0, lower, upper)
            # The density over its largest value within the bin.
            share, _ = scipy.integrate.quad(
                lambda z, nearest=nearest: np.exp((nearest**2 - z**2) / 2),
                max(lower, nearest - 40),
                min(upper, nearest + 40),
                points=[nearest],
            )
            expected = np.log(share) - nearest**2 / 2 - np.log(2 * np.pi) / 2
            np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10)


def test_gradients_are_finite_at_every_extreme():
    def total(mean, log_variance):
        x = jnp.asarray(levels(256), jnp.float32)[None]
        return bounds.discretized_log_likelihood(x, mean, log_variance, 256).sum()

    slopes = jax.jit(jax.grad(total, (0, 1)))
    for mean in (0.0, 1.0, -3.0, 1e3, 1e6):
        for log_variance in (-20.0, -5.0, 0.0, 10.0):
            found = slopes(jnp.full((1, 256), mean), jnp.float32(log_variance))
            assert all(np.isfinite(part).all() for part in found), (mean, log_variance)


def test_a_gaussian_density():
    rng = np.random.default_rng(1)
    x, mean = rng.normal(size=(2, 3, 4))
    found = bounds.gaussian_log_density(jnp.asarray(x, jnp.float32), jnp.asarray(mean, jnp.float32), 0.4)
    np.testing.assert_allclose(found, scipy.stats.norm.logpdf(x, mean, np.exp(0.2)), rtol=2e-5)


def test_data_off_the_levels_are_refused():
    bounds.check_levels(jnp.asarray(levels(17), jnp.float32)[None], 17)
    bounds.check_levels(jnp.asarray(levels(256), jnp.float32)[None], 256)
    for x in ([[0.3, 0.0]], [[1.125, 0.0]]):
        with pytest.raises(ValueError, match=r"needs data of 17 levels from -1 to 1, got (0.3|1.125): for points"):
            bounds.check_levels(jnp.asarray(x), 17)
    with pytest.raises(ValueError, match="at least two levels, got 1"):
        bounds.discretized_log_likelihood(jnp.zeros((1, 1)), jnp.zeros((1, 1)), 0.0, 1)
