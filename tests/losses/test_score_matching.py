"""Denoising score matching as published: NCSN's annealed loss, and scores against noise, under the VE SDE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import build, denoisers, losses, processes, samplers, schedules
from diffax.processes import time_sampling
from tests.settings.changed import changed

NUM_LEVELS, LOW, HIGH = 10, 0.01, 1.0
RATIO = (HIGH / LOW) ** (1 / (NUM_LEVELS - 1))
# discrete_uniform has the times 1/L to 1, so that sigma_min, at t = 0, is one level below the lowest.
NCSN = {
    "schedule": "variance_exploding",
    "schedule.sigma_min": LOW / RATIO,
    "schedule.sigma_max": HIGH,
    "parameterization": "score",
    "loss.weighting": "uniform",
    "loss.time_density": "discrete_uniform",
    "loss.time_density.num_steps": NUM_LEVELS,
}


def score(xp, x, sigma):
    """A score network: any function of x and sigma."""
    return xp.tanh(x) - x / (0.3 + sigma**2)


def test_annealed_score_matching_is_ncsns():
    """1/2 E sigma^2 |s(x + n, sigma) + n / sigma^2|^2 over a geometric sequence (arXiv:1907.05600, eq. 5 and 6)."""
    config, rng, num = changed(NCSN), np.random.default_rng(0), 500
    schedule, density = build.schedule(config), build.time_density(config)
    x, eps = rng.standard_normal((2, num, 6))
    keys = jax.random.split(jax.random.key(0), num)
    got = losses.denoising(
        keys,
        lambda x_t, t, *, key: score(jnp, x_t, schedule.sigma(t)[:, None]),
        schedule,
        build.parameterization(config, None),
        jnp.asarray(x, jnp.float32),
        weighting=build.weighting(config),
        time_density=density,
        eps=jnp.asarray(eps, jnp.float32),
    )
    level = np.round(np.asarray(losses.draw_times(keys, schedule, density), float) * NUM_LEVELS).astype(int) - 1
    assert set(level) == set(range(NUM_LEVELS))
    sigma = np.geomspace(LOW, HIGH, NUM_LEVELS)[level][:, None]
    error = score(np, x + sigma * eps, sigma) + sigma * eps / sigma**2
    expected = 0.5 * sigma[:, 0] ** 2 * (error**2).sum(1)
    # Ours is the mean over the 6 numbers, theirs half their sum.
    np.testing.assert_allclose(6 / 2 * np.asarray(got, float), expected, rtol=2e-4)


@pytest.mark.parametrize("schedule", [schedules.VarianceExploding(), schedules.SubVP(), schedules.LinearBeta()])
def test_scores_and_noise_are_learned_alike(schedule):
    """score = -eps / sigma: networks related by that factor have one loss, one gradient and the same samples."""
    rng, keys = np.random.default_rng(1), jax.random.split(jax.random.key(0), 64)
    x_0 = jnp.asarray(rng.standard_normal((64, 3)), jnp.float32)
    params = jnp.asarray([0.4, -0.2], jnp.float32)

    def noise(params, x, t, condition=None, *, key=None):
        return jnp.tanh(params[0] * x) + params[1] * jnp.cos(t)[:, None]

    def minus_over_sigma(params, x, t, condition=None, *, key=None):
        return -noise(params, x, t) / schedule.sigma(t)[:, None]

    def loss(params, network, parameterization):
        predict = denoisers.raw_network(network, params, schedule, parameterization, time_input=lambda _, t: t)
        options = {"weighting": losses.weighting.Uniform(), "time_density": time_sampling.Uniform(0.01, 1.0)}
        return losses.denoising(keys, predict, schedule, parameterization, x_0, **options).mean()

    pairs = (noise, processes.Eps()), (minus_over_sigma, processes.Score())
    value_and_grad = jax.jit(jax.value_and_grad(loss), static_argnums=(1, 2))
    (of_noise, by_noise), (of_score, by_score) = (value_and_grad(params, *pair) for pair in pairs)
    np.testing.assert_allclose(of_score, of_noise, rtol=1e-5)
    np.testing.assert_allclose(by_score, by_noise, rtol=2e-4, atol=1e-6)

    table = samplers.ddpm(schedule, np.linspace(1, 0.01, 6), variance="large")
    drawn = [
        samplers.run(
            keys,
            denoisers.from_network(network, params, schedule, parameterization, time_input=lambda _, t: t),
            table,
            float(schedule.sigma(1.0)) * x_0,
        )
        for network, parameterization in pairs
    ]
    np.testing.assert_allclose(drawn[1], drawn[0], rtol=1e-4, atol=1e-4 * float(np.abs(drawn[0]).max()))


def test_reverse_diffusion_is_ddpm_with_the_large_variance():
    """x + (sigma_t^2 - sigma_s^2) score + sqrt(sigma_t^2 - sigma_s^2) z (arXiv:2011.13456, algorithm 2)."""
    schedule = schedules.VarianceExploding(0.02, 10.0)
    table = samplers.ddpm(schedule, [1.0, 0.9, 0.4], variance="large")
    x, x_0, z = np.random.default_rng(2).standard_normal((3, 2))
    for row, (t, s) in enumerate(((1.0, 0.9), (0.9, 0.4))):
        gap = schedule.sigma(t) ** 2 - schedule.sigma(s) ** 2
        score_t = (x_0 - x) / schedule.sigma(t) ** 2
        got = table.a[row] * x + table.b[row, 0] * x_0 + table.c[row] * z
        np.testing.assert_allclose(got, x + gap * score_t + np.sqrt(gap) * z, rtol=1e-9)
