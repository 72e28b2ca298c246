"""Langevin dynamics, annealed and as a corrector, on Gaussians whose discretised law is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules
from diffax.typing import Prediction

NUM = 20_000
KEYS = jax.random.split(jax.random.key(0), NUM)


def assert_within(samples, mean, variance):
    """Mean and variance of each dimension within 4 standard errors."""
    samples = np.asarray(samples, np.float64)
    np.testing.assert_array_less(np.abs(samples.mean(0) - mean), 4 * np.sqrt(variance / NUM))
    np.testing.assert_array_less(np.abs(samples.var(0) / variance - 1), 4 * np.sqrt(2 / NUM))


def test_its_law_on_a_gaussian_is_the_discretised_one():
    """x + h (m - x) / v + sqrt(2h) z is autoregressive: mean m + (1 - h/v)^n (x - m), variance in closed form."""
    mean, variance, step, num_steps = np.array([0.5, -1.0]), np.array([0.3, 1.5]), 0.05, 40

    def score(x):
        return (mean[None] - x) / variance[None]

    x = jnp.full((NUM, 2), 2.0)
    drawn = jax.jit(lambda x: samplers.langevin(KEYS, score, x, step_size=step, num_steps=num_steps))(x)
    kept = 1 - step / variance
    expected = mean + kept**num_steps * (2.0 - mean)
    assert_within(drawn, expected, 2 * step * (1 - kept ** (2 * num_steps)) / (1 - kept**2))


def test_a_sample_depends_on_its_own_key_alone():
    x = jnp.zeros((8, 1))
    full = samplers.langevin(KEYS[:8], lambda x: -x, x, step_size=0.1, num_steps=5)
    part = samplers.langevin(KEYS[3:4], lambda x: -x, x[:1], step_size=0.1, num_steps=5)
    np.testing.assert_allclose(full[3], part[0], atol=1e-6)


def test_annealed_langevin_reaches_the_data():
    """Its law at the last level, where steps of h sigma^2 at variance v + sigma^2 hardly move: near the data's own."""
    schedule = schedules.VarianceExploding(0.05, 5.0)
    gaussian = denoisers.gaussian_mixture(schedule, [1.0], [[0.7]], [0.5])
    times = samplers.grids.uniform(30)
    x = 5.0 * jax.random.normal(jax.random.key(1), (NUM, 1))
    drawn = samplers.annealed_langevin(KEYS, gaussian, schedule, x, times, step_size=0.1, steps_per_time=20)
    drawn = np.asarray(drawn, float)
    assert abs(drawn.mean() - 0.7) < 0.05 and abs(drawn.std() - 0.5) < 0.05


def test_a_corrector_mends_what_a_predictor_gets_wrong():
    """Ten steps of DDPM are off in variance; Langevin steps at each time pull towards the right one."""
    num, dim = 1000, 64
    schedule = schedules.VarianceExploding(0.01, 10.0)
    gaussian = denoisers.gaussian_mixture(schedule, [1.0], np.zeros((1, dim)), [0.8])
    table = samplers.ddpm(schedule, samplers.grids.log_snr(schedule, 10, start=1.0, end=0.0))
    x = samplers.prior(KEYS[:num], table, (dim,))
    plain = samplers.run(KEYS[:num], gaussian, table, x)
    mended = samplers.predictor_corrector(KEYS[:num], gaussian, schedule, table, x, snr=0.3, corrections=4)
    exact = 0.8**2 + 0.01**2
    off = [abs(float(np.var(np.asarray(drawn, float))) - exact) for drawn in (plain, mended)]
    assert off[1] < 0.5 * off[0]


def test_the_size_of_a_correction():
    """d = 2 (snr |z| / |s|)^2 (arXiv:2011.13456, algorithm 4): x moves by d s + sqrt(2 d) z.

    From x = 0 with the score s = u / 2, u a unit vector in n dimensions: 2 snr^2 |z|^2 / |s| along u on average, and
    sqrt(2 d) |z| = 2 snr |z|^2 / |s| across.
    """
    num, dim, snr, t = 1000, 256, 0.2, 0.7
    schedule = schedules.VarianceExploding(0.01, 10.0)
    sigma = 0.01 * 1000**t
    eps = jnp.zeros(dim).at[3].set(-0.5 * sigma)

    def denoiser(x, t):
        return Prediction(x, jnp.broadcast_to(eps, x.shape))

    still = samplers.make_table("still", schedule, [0.9], a=np.ones(1))
    x = jnp.zeros((num, dim))
    moved = np.asarray(samplers.predictor_corrector(KEYS[:num], denoiser, schedule, still, x, end=t, snr=snr), float)
    np.testing.assert_allclose(moved[:, 3].mean(), 2 * snr**2 * dim / 0.5, rtol=0.05)
    across = (np.delete(moved, 3, axis=1) ** 2).sum(1).mean()
    np.testing.assert_allclose(across, (2 * snr / 0.5) ** 2 * (dim + 2) * (dim - 1), rtol=0.03)


def test_no_correction_at_sigma_0():
    schedule = schedules.Cosine()
    gaussian = denoisers.gaussian_mixture(schedule, [1.0], [[0.0]], [0.5])
    table = samplers.ddpm(schedule, [0.5, 0.0])
    drawn = samplers.predictor_corrector(KEYS[:4], gaussian, schedule, table, jnp.ones((4, 1)))
    np.testing.assert_allclose(drawn, gaussian(jnp.ones((4, 1)), 0.5).x_0, rtol=1e-6)


def test_errors():
    schedule, x = schedules.Cosine(), jnp.zeros((3, 1))
    gaussian = denoisers.gaussian_mixture(schedule, [1.0], [[0.0]], [0.5])
    with pytest.raises(ValueError, match="at least one step, got 0"):
        samplers.langevin(KEYS[:3], lambda x: -x, x, step_size=0.1, num_steps=0)
    with pytest.raises(ValueError, match="one key per sample"):
        samplers.langevin(KEYS[:2], lambda x: -x, x, step_size=0.1, num_steps=1)
    with pytest.raises(ValueError, match="must be decreasing"):
        samplers.annealed_langevin(KEYS[:3], gaussian, schedule, x, [0.1, 0.9], step_size=0.1, steps_per_time=1)
    with pytest.raises(ValueError, match="needs the table of a one-step sampler"):
        table = samplers.unipc(schedule, samplers.grids.uniform(4))
        samplers.predictor_corrector(KEYS[:3], gaussian, schedule, table, x)
    with pytest.raises(ValueError, match="needs the table of a one-step sampler"):
        table = samplers.ancestral(schedule, samplers.grids.uniform(4))
        samplers.predictor_corrector(KEYS[:3], gaussian, schedule, table, x)
