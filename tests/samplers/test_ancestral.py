"""Learned variances: on Gaussian data the right one makes any number of steps exact."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import arrays, denoisers, processes, samplers, schedules
from diffax.denoisers import time_inputs
from diffax.typing import Prediction

SCHEDULE = schedules.Cosine()
MEAN, STD = 0.4, 0.5
TIMES = np.array([0.98, 0.7, 0.5, 0.2, 0.05])


def coefficients(s, t):
    """alpha and sigma at s and t, (small, large) of DDPM and b of its posterior mean, in float64."""
    alpha_s, sigma_s, alpha_t, sigma_t = (
        np.cos(s * np.pi / 2),
        np.sin(s * np.pi / 2),
        np.cos(t * np.pi / 2),
        np.sin(t * np.pi / 2),
    )
    large = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    return (
        alpha_t,
        sigma_t,
        large * sigma_s**2 / sigma_t**2,
        large,
        alpha_s * large / sigma_t**2,
        (alpha_t / alpha_s) * sigma_s**2 / sigma_t**2,
    )


def exact_variance(x, t):
    """The oracle, with the v that makes the step's variance that of q(x_s | x_t) on TIMES."""
    starts = jnp.asarray(TIMES[:-1])
    values = []
    for t_, s in itertools.pairwise(TIMES):
        alpha_t, sigma_t, small, large, b, _ = coefficients(s, t_)
        left = STD**2 * sigma_t**2 / (alpha_t**2 * STD**2 + sigma_t**2)
        values.append(np.log((small + b**2 * left) / small) / np.log(large / small))
    v = jnp.asarray(values)[jnp.argmin(jnp.abs(starts - t))]
    oracle = denoisers.gaussian_mixture(SCHEDULE, [1.0], [[MEAN]], [STD])
    return oracle(x, t)._replace(log_variance_fraction=jnp.full_like(x, v))


def test_the_exact_variance_makes_four_steps_exact():
    num = 20000
    alpha, sigma = np.cos(TIMES[0] * np.pi / 2), np.sin(TIMES[0] * np.pi / 2)
    keys = jax.random.split(jax.random.key(0), num)
    x = alpha * MEAN + np.sqrt(alpha**2 * STD**2 + sigma**2) * jax.random.normal(jax.random.key(1), (num, 1))
    drawn = np.asarray(samplers.run(keys, exact_variance, samplers.ancestral(SCHEDULE, TIMES), x), float)
    alpha, sigma = np.cos(TIMES[-1] * np.pi / 2), np.sin(TIMES[-1] * np.pi / 2)
    variance = alpha**2 * STD**2 + sigma**2
    assert abs(drawn.mean() - alpha * MEAN) < 4 * np.sqrt(variance / num)
    assert abs(drawn.var() / variance - 1) < 4 * np.sqrt(2 / num)
    # DDPM's two variances are far off with so few.
    for variant in ("small", "large"):
        law = samplers.gaussian_law(samplers.ddpm(SCHEDULE, TIMES, variance=variant), SCHEDULE, MEAN, STD**2)
        assert abs(law.variance[0] / variance - 1) > 0.1


@pytest.mark.parametrize("v", [0.0, 0.3, 1.0])
def test_a_step_in_numpy(v):
    x_0 = np.array([[0.2, -0.5]])
    x = np.array([[1.0, 0.3]], np.float32)
    keys = jax.random.split(jax.random.key(3), 1)

    def fixed(x_t, t):
        return Prediction(jnp.asarray(x_0, x_t.dtype), x_t, jnp.full_like(x_t, v))

    got = samplers.run(keys, fixed, samplers.ancestral(SCHEDULE, [0.6, 0.4]), jnp.asarray(x))
    _, _, small, large, b, a = coefficients(0.4, 0.6)
    noise = np.asarray(arrays.normal_like(jax.vmap(lambda key: jax.random.fold_in(key, 2))(keys), jnp.asarray(x)))
    std = np.exp(0.5 * (v * np.log(large) + (1 - v) * np.log(small)))
    np.testing.assert_allclose(got, a * x + b * x_0 + std * noise, rtol=2e-6)


def test_the_last_step_to_data_adds_no_noise():
    keys = jax.random.split(jax.random.key(0), 2)

    def fixed(x_t, t):
        return Prediction(jnp.full_like(x_t, 0.25), x_t, jnp.full_like(x_t, 0.5))

    for times in ([0.4, 0.0], [0.6, 0.4, 0.0]):
        drawn = samplers.run(keys, fixed, samplers.ancestral(SCHEDULE, times), jnp.ones((2, 3)))
        np.testing.assert_allclose(drawn, 0.25, rtol=1e-6)


@pytest.mark.parametrize(("v", "variance"), [(0.0, "small"), (1.0, "large")])
def test_the_ends_of_the_range_are_ddpm_s_two_variances(v, variance):
    keys, x = jax.random.split(jax.random.key(5), 8), jax.random.normal(jax.random.key(6), (8, 1))
    oracle = denoisers.gaussian_mixture(SCHEDULE, [1.0], [[MEAN]], [STD])
    times = samplers.grids.uniform(10)

    def fixed(x_t, t):
        return oracle(x_t, t)._replace(log_variance_fraction=jnp.full_like(x_t, v))

    drawn = samplers.run(keys, fixed, samplers.ancestral(SCHEDULE, times), x)
    expected = samplers.run(keys, oracle, samplers.ddpm(SCHEDULE, times, variance=variance), x)
    np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-5)


def test_its_table_has_both_standard_deviations():
    table = samplers.ancestral(SCHEDULE, TIMES)
    small, large, b, a = np.array([coefficients(s, t)[2:] for t, s in itertools.pairwise(TIMES)]).T
    np.testing.assert_allclose(table.c**2, small, rtol=1e-9)
    np.testing.assert_allclose(table.c_large**2, large, rtol=1e-9)
    np.testing.assert_allclose(table.b[:, 0], b, rtol=1e-9)
    np.testing.assert_allclose(table.a, a, rtol=1e-9)
    assert table.is_stochastic and table.num_evaluations == 4


def test_to_data_and_saved_states_go_with_a_learned_variance():
    schedule = schedules.VarianceExploding(0.01, 5.0)
    oracle = denoisers.gaussian_mixture(schedule, [1.0], [[MEAN]], [STD])

    def fixed(x_t, t):
        return oracle(x_t, t)._replace(log_variance_fraction=jnp.full_like(x_t, 0.4))

    table = samplers.to_data(samplers.ancestral(schedule, samplers.grids.uniform(5)), 0.0)
    keys = jax.random.split(jax.random.key(7), 4)
    result, states = samplers.run(keys, fixed, table, samplers.prior(keys, table, (1,)), save_every=1)
    assert states.shape == (6, 4, 1)
    np.testing.assert_allclose(result, oracle(states[-2], 0.0).x_0, rtol=1e-6)


def test_a_network_with_twice_the_channels_has_learned_a_variance():
    def apply_fn(params, x, time_input, condition, *, key=None):
        return jnp.concatenate([params * x, jnp.full_like(x, 0.5)], axis=-1)

    settings = (SCHEDULE, processes.V())
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    got = denoisers.from_network(apply_fn, jnp.float32(0.7), *settings, time_input=time_inputs.scaled)(x, 0.3)
    plain = denoisers.from_network(
        lambda params, x, *_, key=None: params * x, jnp.float32(0.7), *settings, time_input=time_inputs.scaled
    )(x, 0.3)
    np.testing.assert_array_equal(got.x_0, plain.x_0)
    np.testing.assert_array_equal(got.log_variance_fraction, 0.75)
    assert plain.log_variance_fraction is None


def test_clear_errors():
    keys, x = jax.random.split(jax.random.key(0), 2), jnp.zeros((2, 1))
    oracle = denoisers.gaussian_mixture(SCHEDULE, [1.0], [[MEAN]], [STD])
    table = samplers.ancestral(SCHEDULE, TIMES)
    with pytest.raises(ValueError, match="needs a denoiser whose prediction has a log_variance_fraction"):
        samplers.run(keys, oracle, table, x)
    with pytest.raises(ValueError, match="one key per sample"):
        samplers.run(keys[:1], exact_variance, table, x)
    with pytest.raises(ValueError, match="ancestral is stochastic: give keys"):
        samplers.run(None, exact_variance, table, x)
    with pytest.raises(ValueError, match="times must be decreasing"):
        samplers.ancestral(SCHEDULE, TIMES[::-1])
    with pytest.raises(ValueError, match="takes no table with a learned variance, got ancestral"):
        samplers.gaussian_law(table, SCHEDULE, MEAN, STD**2)
