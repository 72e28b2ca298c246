"""Replacement: the known part follows the forward process, whatever the denoiser thinks."""

import jax
import jax.numpy as jnp
import numpy as np

from diffax import denoisers, samplers, schedules

SCHEDULE = schedules.Cosine()
COVARIANCE = np.array([[1.0, 0.9], [0.9, 1.0]])
KNOWN = 1.5
MASK = np.array([True, False])


def draws(table, num=4000, save_every=None):
    """Draws of a correlated Gaussian whose first number is known to be KNOWN."""
    oracle = denoisers.gaussian_mixture(SCHEDULE, [1.0], [[0.0, 0.0]], [COVARIANCE])
    inpainted = denoisers.inpainted(oracle, SCHEDULE, jnp.full((num, 2), KNOWN), jnp.asarray(MASK))
    keys = jax.random.split(jax.random.key(0), num)
    x = samplers.prior(keys, table, (2,))
    return jax.jit(lambda x, keys: samplers.run(keys, inpainted, table, x, save_every=save_every))(x, keys)


def test_the_known_part_follows_the_forward_process_under_ddpm():
    times = samplers.grids.uniform(40)
    end, states = draws(samplers.ddpm(SCHEDULE, times), save_every=10)
    np.testing.assert_array_equal(end[:, 0], KNOWN)
    for state, t in zip(states, times[10::10], strict=True):
        known = np.asarray(state[:, 0], float)
        sigma = float(SCHEDULE.sigma(t))
        assert abs(known.mean() - float(SCHEDULE.alpha(t)) * KNOWN) <= 4 * sigma / np.sqrt(4000)
        np.testing.assert_allclose(known.std(), sigma, rtol=0.05)


def test_what_is_not_known_is_left_to_the_denoiser():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)
    oracle = denoisers.gaussian_mixture(SCHEDULE, [1.0], [[0.0, 0.0]], [COVARIANCE])
    inpainted = denoisers.inpainted(oracle, SCHEDULE, jnp.full((3, 2), KNOWN), jnp.asarray(MASK))(x, 0.4)
    prediction = oracle(x, 0.4)
    np.testing.assert_array_equal(inpainted.x_0[:, 1], prediction.x_0[:, 1])
    np.testing.assert_array_equal(inpainted.eps[:, 1], prediction.eps[:, 1])
    alpha, sigma = float(SCHEDULE.alpha(0.4)), float(SCHEDULE.sigma(0.4))
    np.testing.assert_allclose(inpainted.eps[:, 0], (x[:, 0] - alpha * KNOWN) / sigma, rtol=1e-5)


def test_repaint_comes_closer_to_the_posterior_than_replacement():
    """Given the first number the second is N(0.9 * 1.5, 1 - 0.81)."""
    times = samplers.grids.uniform(50)
    replaced = np.asarray(draws(samplers.ddpm(SCHEDULE, times)), float)[:, 1]
    repainted = np.asarray(draws(samplers.repaint(SCHEDULE, times, jump_length=5, resamples=10)), float)[:, 1]
    assert abs(replaced.mean() - 1.35) > 0.1
    assert abs(repainted.mean() - 1.35) < 0.3 * abs(replaced.mean() - 1.35)
