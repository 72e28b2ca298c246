"""Dequantization against distributions whose probabilities are known: bits, bounds and how tight they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from diffax import denoisers, likelihood, schedules
from diffax.likelihood import dequantization
from diffax.likelihood.dequantization import Bins

BINS = Bins.of_levels(17)
METHODS = [dequantization.uniform, dequantization.truncated_normal, dequantization.variational]
NUM = 4000
KEYS = jax.random.split(jax.random.key(0), NUM)


def test_bits_of_a_bin():
    """log2(127.5) of x / 127.5 - 1, 3 of the digits' 17 levels, and 7 only where 256 bins fill [-1, 1]."""
    found = [likelihood.bits_per_dim(0.0, 1, bins.width) for bins in (Bins.of_levels(256), BINS, Bins.filling(256))]
    np.testing.assert_allclose(found, [np.log2(127.5), 3, 7])
    assert round(float(found[0]), 4) == 6.9944
    # The log-probability of a bin is the log-density and the log of its width, D of them.
    density = np.array([-5.0, 2.0])
    of_bin = likelihood.bits_per_dim(density + 12 * np.log(BINS.width), 12)
    np.testing.assert_allclose(likelihood.bits_per_dim(density, 12, BINS.width), of_bin)


@pytest.mark.parametrize(
    ("bins", "scaled"),
    [
        (BINS, lambda k: k / 8 - 1),
        (Bins.of_levels(256), lambda k: k / 127.5 - 1),
        (Bins.filling(4), lambda k: k / 2 - 0.75),
    ],
)
def test_bins_are_centred_at_the_levels(bins, scaled):
    levels = np.arange(bins.num_levels)
    np.testing.assert_allclose(bins.centres(levels), scaled(levels), atol=1e-6)
    np.testing.assert_allclose(np.diff(bins.centres(levels)), bins.width, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schedule", [schedules.Cosine(), schedules.VarianceExploding(0.02, 10.0)])
def test_noise_stays_in_the_bin_and_depends_on_its_key_alone(method, schedule):
    x = jnp.asarray(BINS.centres(np.array([[0, 3], [16, 8]])))
    dequantize = jax.jit(method, static_argnums=3)
    noisy, t, correction = dequantize(KEYS[:2], schedule, x, BINS)
    alpha = schedule.alpha(t)
    if method is not dequantization.variational:
        assert np.abs(noisy / (alpha if method is dequantization.truncated_normal else 1) - x).max() <= BINS.width / 2
    assert noisy.shape == x.shape and correction.shape == (2,) and noisy.dtype == jnp.float32
    other = dequantize(KEYS[2:0:-1], schedule, x.at[0].set(0.5), BINS)
    np.testing.assert_array_equal(other.x[1], noisy[1])
    assert other.correction[1] == correction[1] and not np.array_equal(other.x[0], noisy[0])


def test_the_time_is_that_where_half_a_bin_is_three_standard_deviations():
    for schedule in (schedules.Cosine(), schedules.Flow(), schedules.SubVP()):
        x = jnp.zeros((1, 1))
        for tau in (3.0, 2.0):
            t = dequantization.truncated_normal(KEYS[:1], schedule, x, BINS, tau=tau).t
            assert schedule.alpha(t) * BINS.width / 2 / schedule.sigma(t) == pytest.approx(tau, rel=1e-3)
    # For bytes that is i-DODE's log-SNR of 13.3.
    t = dequantization.truncated_normal(KEYS[:1], schedules.Cosine(), x, Bins.of_levels(256)).t
    assert schedules.Cosine().log_snr(t) == pytest.approx(13.3, abs=0.05)
    # Schedules that begin with more noise than that begin where they do.
    for schedule, first in ((schedules.VarianceExploding(0.01, 10.0), 0), (schedules.Discrete.linear(100), 0.01)):
        t = dequantization.truncated_normal(KEYS[:1], schedule, x, Bins.of_levels(256)).t
        np.testing.assert_allclose(t, first)
    with pytest.raises(ValueError, match="tau must be > 0, got 0"):
        dequantization.variational(KEYS[:1], schedules.Flow(), x, BINS, tau=0.0)


def test_uniform_noise_is_tight_for_a_density_constant_on_bins():
    """The bits are then the entropy of the distribution: 1.75 for (1/2, 1/4, 1/8, 1/8)."""
    probabilities, bins = np.array([0.5, 0.25, 0.125, 0.125]), Bins.filling(4)
    levels = np.array([0, 0, 0, 0, 1, 1, 2, 3])[np.arange(NUM) % 8]
    x = jnp.asarray(bins.centres(levels[:, None]))
    noisy, _, correction = dequantization.uniform(KEYS, schedules.Flow(), x, bins)
    log_density = np.log(probabilities[np.floor((np.asarray(noisy[:, 0]) + 1) * 2).astype(int)] / bins.width)
    bits = likelihood.bits_per_dim(log_density + correction, 1)
    assert bits.mean() == pytest.approx(1.75, abs=1e-6)


def test_uniform_noise_bounds_the_probability_of_a_binned_gaussian():
    """E_u[log density] in closed form: the mean of (v + u)^2 over the bin is v^2 + width^2 / 12."""
    normal, v = stats.norm(0, 0.3), float(BINS.centres(np.array(10)))
    noisy, _, correction = dequantization.uniform(KEYS, schedules.Flow(), jnp.full((NUM, 1), v), BINS)
    bound = normal.logpdf(np.asarray(noisy[:, 0])) + correction
    expected = np.log(BINS.width / (0.3 * np.sqrt(2 * np.pi))) - (v**2 + BINS.width**2 / 12) / (2 * 0.3**2)
    assert abs(bound.mean() - expected) < 4 * bound.std() / np.sqrt(NUM)
    exact = np.log(normal.cdf(v + BINS.width / 2) - normal.cdf(v - BINS.width / 2))
    assert expected < exact < expected + 0.01


def log_marginal(probabilities, alpha, sigma, x):
    """log q_t of noisy levels."""
    centres = BINS.centres(np.arange(17)).astype(float)
    return np.log((probabilities * stats.norm(alpha * centres, sigma).pdf(np.asarray(x, float)[..., None])).sum(-1))


def test_truncated_noise_loses_what_is_cut_off(x64):
    """The bound of a model whose density is that of the noisy levels, by quadrature over the truncated noise."""
    schedule, tau = schedules.Cosine(), 1.5
    probabilities = np.arange(1, 18) / (17 * 9)
    x = jnp.full((NUM, 1), float(BINS.centres(np.array(12))))
    noisy, t, correction = dequantization.truncated_normal(KEYS, schedule, x, BINS, tau=tau)
    alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
    bound = log_marginal(probabilities, alpha, sigma, noisy[:, 0]) + correction
    noise = stats.truncnorm(-tau, tau)
    mean = integrate.quad(
        lambda eps: noise.pdf(eps) * log_marginal(probabilities, alpha, sigma, alpha * x[0, 0] + sigma * eps), -tau, tau
    )[0]
    assert correction[0] == pytest.approx(noise.entropy() + np.log(sigma), rel=1e-6)
    assert abs(bound.mean() - mean - correction[0]) < 4 * bound.std() / np.sqrt(NUM)
    share = stats.norm.cdf(tau) - stats.norm.cdf(-tau)
    # It loses log share, and gains a little where bins meet; it stays below the log-probability of the level.
    assert np.log(probabilities[12] * share) < mean + correction[0] < np.log(probabilities[12])


def test_the_decoder_s_correction_is_exact_for_equally_probable_levels(x64):
    """q_t(x_t) p(x | x_t) is then q(x_t | x) / 17: the bound is -log 17, and fluctuates by (1 - eps^2) / 2 alone."""
    schedule = schedules.Flow()
    levels = np.arange(NUM) % 17
    x = jnp.asarray(BINS.centres(levels[:, None]), jnp.float64)
    for tau in (3.0, 0.4):
        noisy, t, correction = dequantization.variational(KEYS, schedule, x, BINS, tau=tau)
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        bound = log_marginal(np.full(17, 1 / 17), alpha, sigma, noisy[:, 0]) + correction
        eps = (noisy - alpha * x)[:, 0] / sigma
        np.testing.assert_allclose(bound, -np.log(17) + (1 - eps**2) / 2, atol=1e-5)


@pytest.mark.parametrize("method", METHODS[1:])
def test_the_entropy_of_levels_by_the_ode(method):
    """Bits of 17 equally probable levels, from above: log2(17)."""
    schedule, num = schedules.Cosine(), 17 * 8
    centres = BINS.centres(np.arange(17))[:, None].astype(float)
    oracle = denoisers.gaussian_mixture(schedule, np.full(17, 1 / 17), centres, np.zeros(17))

    @jax.jit
    def solve(keys, x):
        return likelihood.log_likelihood(keys, oracle, schedule, x, bins=BINS, dequantize=method)

    result = solve(KEYS[:num], jnp.asarray(np.repeat(centres, 8, axis=0), jnp.float32))
    bits = np.asarray(likelihood.bits_per_dim(result.nats, 1))
    lost = -np.log2(stats.norm.cdf(3) - stats.norm.cdf(-3)) if method is dequantization.truncated_normal else 0
    error = bits.std() / np.sqrt(num)
    assert abs(bits.mean() - np.log2(17) - lost) < 4 * error + 2e-3 and error < 0.12
