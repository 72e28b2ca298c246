"""Epsilon scaling, against its formula and against what it is for: the variance that few steps of DDIM lose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules
from diffax.samplers import grids

RNG = np.random.default_rng(0)
COSINE = schedules.Cosine()
ORACLE = denoisers.gaussian_mixture(COSINE, [0.3, 0.7], [[1.0, -1.0], [0.0, 2.0]], [0.5, 0.2])


def test_eps_is_divided_and_both_halves_still_make_x_t():
    x_t, t = jnp.asarray(RNG.normal(size=(5, 2)), jnp.float32), jnp.array([0.0, 0.2, 0.5, 0.8, 0.98])
    scaled = denoisers.epsilon_scaled(ORACLE, COSINE, 1.02)
    x_0, eps, log_variance_fraction = scaled(x_t, t)
    alpha, sigma = COSINE.alpha(t)[:, None], COSINE.sigma(t)[:, None]
    np.testing.assert_allclose(eps, np.asarray(ORACLE(x_t, t).eps) / 1.02, rtol=1e-5)
    np.testing.assert_allclose(alpha * x_0 + sigma * eps, x_t, atol=2e-6)
    assert log_variance_fraction is None
    for i, alone in enumerate(t):
        np.testing.assert_allclose(scaled(x_t, alone).x_0[i], x_0[i], rtol=1e-5, atol=1e-6)


def test_a_scale_of_1_and_pure_noise_are_left_as_they_are():
    x_t = jnp.asarray(RNG.normal(size=(5, 2)), jnp.float32)
    for scale, t in ((1.0, 0.7), (1.3, 1.0)):
        for scaled, plain in zip(
            denoisers.epsilon_scaled(ORACLE, COSINE, scale)(x_t, t)[:2], ORACLE(x_t, t)[:2], strict=True
        ):
            np.testing.assert_array_equal(scaled, plain)


@pytest.mark.parametrize("std", [0.3, 1.0])
def test_ddim_gets_back_the_variance_that_few_steps_lose(std):
    """On N(0, std^2) a step multiplies x by a number known in closed form, with and without the scale."""
    num_steps, scale = 20, 1.02
    table = samplers.ddim(COSINE, grids.uniform(num_steps))
    phi = np.pi / 2 * (1 - np.arange(num_steps + 1) / num_steps)
    alpha, sigma = np.cos(phi), np.sin(phi)
    expected = {1.0: 1.0, scale: 1.0}
    for lam in expected:
        for a, s, a_next, s_next in zip(alpha, sigma, alpha[1:], sigma[1:], strict=False):
            x_0, eps = a * std**2 / (a**2 * std**2 + s**2), s / (a**2 * std**2 + s**2)
            if a > 1e-3:
                x_0, eps = (1 - s * eps / lam) / a, eps / lam
            expected[lam] *= a_next * x_0 + s_next * eps

    oracle = denoisers.gaussian_mixture(COSINE, [1.0], [[0.0]], [std])
    x, keys = jnp.ones((1, 1)), jax.random.split(jax.random.key(0), 1)
    for lam, factor in expected.items():
        drawn = samplers.run(keys, denoisers.epsilon_scaled(oracle, COSINE, lam), table, x)
        np.testing.assert_allclose(drawn, factor, rtol=1e-4)
    assert expected[1.0] < std and abs(expected[scale] - std) < abs(expected[1.0] - std)
