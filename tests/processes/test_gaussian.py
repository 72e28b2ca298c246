"""The conditionals of the forward process, against the algebra of Gaussians in float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import processes, schedules
from diffax.processes import gaussian
from tests.cases import SCHEDULES

NAMES = sorted(SCHEDULES)
# Pairs s < t, both ends and neighbouring steps of a Discrete schedule included.
S = np.array([0.0, 0.0, 0.0, 0.001, 0.1, 0.499, 0.5, 0.3, 0.998, 0.999])
T = np.array([0.001, 0.4, 1.0, 0.002, 0.9, 0.500, 1.0, 0.7, 0.999, 1.0])


@pytest.mark.parametrize("name", NAMES)
def test_chapman_kolmogorov(name):
    """q(x_t | x_s) after q(x_s | x_0) is q(x_t | x_0)."""
    schedule = SCHEDULES[name]
    with np.errstate(all="raise"):
        a, variance = gaussian.transition_coefficients(schedule, S, T)
    assert np.all(variance >= 0)
    np.testing.assert_allclose(a * schedule.alpha(S), schedule.alpha(T), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(a**2 * schedule.sigma(S) ** 2 + variance, schedule.sigma(T) ** 2, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_bayes(name):
    """q(x_s | x_t, x_0) q(x_t | x_0) is q(x_t | x_s) q(x_s | x_0): equal first and second moments of (x_s, x_t)."""
    schedule = SCHEDULES[name]
    with np.errstate(all="raise"):
        a, b, variance = gaussian.posterior_coefficients(schedule, S, T)
    forward, _ = gaussian.transition_coefficients(schedule, S, T)
    assert np.all(variance >= 0)
    np.testing.assert_allclose(a * schedule.alpha(T) + b, schedule.alpha(S), rtol=1e-9)
    covariance = forward * schedule.sigma(S) ** 2
    np.testing.assert_allclose(a * schedule.sigma(T) ** 2, covariance, rtol=1e-9, atol=1e-20)
    np.testing.assert_allclose(a * covariance + variance, schedule.sigma(S) ** 2, rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("name", NAMES)
def test_density_by_density_bayes_holds(name):
    """The same as densities at arbitrary points, by the definition of a conditional density."""
    schedule, s, t = SCHEDULES[name], 0.3, 0.7

    def normal(x, mean, variance):
        return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)

    a, b, posterior = gaussian.posterior_coefficients(schedule, s, t)
    forward, variance = gaussian.transition_coefficients(schedule, s, t)
    for x_0, x_s, x_t in ((0.4, 0.1, -0.3), (-1.0, -0.7, 0.2)):
        joint = normal(x_t, schedule.alpha(t) * x_0, schedule.sigma(t) ** 2) * normal(x_s, a * x_t + b * x_0, posterior)
        chain = normal(x_s, schedule.alpha(s) * x_0, schedule.sigma(s) ** 2) * normal(x_t, forward * x_s, variance)
        assert joint == pytest.approx(chain, rel=1e-9)


def test_a_discrete_step_is_ddpm_s_in_the_paper_s_letters():
    """arXiv:2006.11239, eq. 2, 6 and 7."""
    betas = np.linspace(1e-4, 0.02, 1000)
    alphas_bar = np.cumprod(1 - betas)
    before = np.concatenate([[1.0], alphas_bar[:-1]])
    schedule, i = schedules.Discrete(betas), np.arange(1000)
    s, t = i / 1000, (i + 1) / 1000

    a, variance = gaussian.transition_coefficients(schedule, s, t)
    np.testing.assert_allclose(a, np.sqrt(1 - betas), rtol=1e-11)
    np.testing.assert_allclose(variance, betas, rtol=1e-9)

    a, b, variance = gaussian.posterior_coefficients(schedule, s, t)
    np.testing.assert_allclose(a, np.sqrt(1 - betas) * (1 - before) / (1 - alphas_bar), rtol=1e-9)
    np.testing.assert_allclose(b, np.sqrt(before) * betas / (1 - alphas_bar), rtol=1e-9)
    np.testing.assert_allclose(variance, (1 - before) / (1 - alphas_bar) * betas, rtol=1e-9)


def test_from_pure_noise_the_posterior_is_the_marginal():
    schedule = schedules.Cosine()
    a, b, variance = gaussian.posterior_coefficients(schedule, 0.4, 1.0)
    assert a == 0
    assert b == pytest.approx(schedule.alpha(0.4))
    assert variance == pytest.approx(schedule.sigma(0.4) ** 2)


def test_down_to_data_the_posterior_is_the_data_exactly():
    a, b, variance = gaussian.posterior_coefficients(schedules.Flow(), 0.0, 0.3)
    assert (a, b, variance) == (0, 1, 0)


def test_a_step_without_noise_stays_where_it_is():
    schedule = schedules.Discrete([0.1, 0.0, 0.0, 0.2])
    s, t = np.array([0.25, 0.3, 0.27]), np.array([0.75, 0.6, 0.41])
    a, variance = gaussian.transition_coefficients(schedule, s, t)
    np.testing.assert_allclose(a, 1, rtol=1e-14)
    assert np.all(variance >= 0) and np.all(variance < 1e-14)
    a, b, variance = gaussian.posterior_coefficients(schedule, s, t)
    np.testing.assert_allclose((a, b + 1, variance + 1), 1, rtol=1e-14)
    assert np.all(variance >= 0)


def test_within_pure_data_and_within_pure_noise_a_sample_stays():
    schedule = schedules.Discrete([0.0, 0.5, 1.0, 0.3])
    for s, t in ((0.0, 0.25), (0.75, 1.0)):
        assert gaussian.transition_coefficients(schedule, s, t) == (1, 0)
        assert gaussian.posterior_coefficients(schedule, s, t) == (1, 0, 0)


def test_diffuse_mixes_and_takes_one_time_or_one_per_sample():
    schedule, rng = schedules.Cosine(), np.random.default_rng(0)
    x_0, eps = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    t = np.array([0.0, 0.3, 1.0])
    expected = np.cos(np.pi / 2 * t)[:, None, None] * x_0 + np.sin(np.pi / 2 * t)[:, None, None] * eps
    x_t = processes.diffuse(schedule, jnp.asarray(x_0), jnp.asarray(eps), jnp.asarray(t, jnp.float32))
    np.testing.assert_allclose(x_t, expected, atol=1e-6)
    for time in (0.3, np.float64(0.3), jnp.float32(0.3)):
        x_t = processes.diffuse(schedule, jnp.asarray(x_0), jnp.asarray(eps), time)
        assert x_t.dtype == jnp.float32
        np.testing.assert_allclose(x_t[1], expected[1], atol=1e-6)


def test_in_x64_mode_diffuse_keeps_the_dtype_of_its_sample(x64):
    x_0 = jnp.ones((2, 3), jnp.float32)
    assert processes.diffuse(schedules.LinearBeta(), x_0, x_0, 0.5).dtype == jnp.float32
    assert processes.diffuse(schedules.LinearBeta(), x_0, x_0, jnp.full(2, 0.5)).dtype == jnp.float32


@pytest.mark.parametrize("conditional", ["marginal", "transition", "posterior"])
def test_samples_have_the_mean_and_variance_stated(conditional):
    schedule, t, s = schedules.LinearBeta(), jnp.array([0.2, 0.7]), jnp.array([0.1, 0.4])
    x, y = jnp.ones((2, 20_000)), jnp.full((2, 20_000), -0.5)
    distribution = {
        "marginal": lambda: processes.marginal(schedule, x, t),
        "transition": lambda: processes.transition(schedule, x, s, t),
        "posterior": lambda: processes.posterior(schedule, x, y, s, t),
    }[conditional]()
    coefficients = {
        "marginal": (schedule.alpha(t), schedule.sigma(t) ** 2),
        "transition": gaussian.transition_coefficients(schedule, s, t),
        "posterior": (lambda a, b, v: (-0.5 * a + b, v))(*gaussian.posterior_coefficients(schedule, s, t)),
    }[conditional]
    draws = np.asarray(distribution.sample(jax.random.split(jax.random.key(0), 2)), np.float64)
    mean, variance = (np.asarray(c) for c in coefficients)
    # Five standard errors: sqrt(v / n) of the mean, v sqrt(2 / n) of the variance.
    np.testing.assert_array_less(np.abs(draws.mean(1) - mean), 5 * np.sqrt(variance / 20_000))
    np.testing.assert_array_less(np.abs(draws.var(1) - variance), 5 * variance * np.sqrt(2 / 20_000))


def test_the_prior_is_as_wide_as_the_noise_at_time_1():
    assert processes.prior_std(schedules.VarianceExploding(0.002, 80.0)) == pytest.approx(80)
    assert processes.prior_std(schedules.Cosine()) == 1
    assert processes.prior_std(schedules.LinearBeta()) == pytest.approx(np.sqrt(1 - np.exp(-10.05)))
