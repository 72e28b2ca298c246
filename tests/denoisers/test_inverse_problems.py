"""Measurements of Gaussian data, whose posterior is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules

RNG = np.random.default_rng(0)
MEAN, STD = np.array([0.5, -0.3, 0.8, 0.0]), 0.6
A = RNG.normal(size=(2, 4))
Y = RNG.normal(size=(3, 2))
SCHEDULES = [schedules.Cosine(), schedules.VarianceExploding(0.02, 20.0), schedules.Flow()]


def measure(x):
    return x @ jnp.asarray(A.T, x.dtype)


def gaussian(schedule):
    return denoisers.gaussian_mixture(schedule, [1.0], [MEAN], [STD])


def posterior(precision_of_x, x_0, noise_std, y):
    """Mean and covariance of x_0 ~ N(x_0, 1 / precision_of_x) given y = A x_0 + noise_std z."""
    precision = precision_of_x * np.eye(4) + A.T @ A / noise_std**2
    return np.linalg.solve(precision, precision_of_x * x_0 + A.T @ y / noise_std**2), np.linalg.inv(precision)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("noise_std", [0.05, 1.0])
def test_pigdm_is_the_exact_posterior_mean_of_gaussian_data(schedule, noise_std):
    t, x = np.array([0.1, 0.5, 0.9]), RNG.normal(size=(3, 4))
    guided = denoisers.pigdm(gaussian(schedule), schedule, measure, Y, noise_std=noise_std, data_std=STD)
    with jax.enable_x64(True):
        x_0, eps, _ = map(np.asarray, jax.jit(lambda x, t: (*guided(x, t)[:2], t))(jnp.asarray(x), jnp.asarray(t)))
    for i in range(3):
        alpha, sigma = float(schedule.alpha(t[i])), float(schedule.sigma(t[i]))
        precision = 1 / STD**2 + alpha**2 / sigma**2
        before = (MEAN / STD**2 + alpha * x[i] / sigma**2) / precision
        expected, _ = posterior(precision, before, noise_std, Y[i])
        np.testing.assert_allclose(x_0[i], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(alpha * x_0[i] + sigma * eps[i], x[i], atol=1e-6)


def test_pigdm_without_measurement_noise_meets_the_measurement():
    schedule = schedules.Cosine()
    guided = jax.jit(denoisers.pigdm(gaussian(schedule), schedule, measure, jnp.asarray(Y, jnp.float32), data_std=STD))
    x = jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32)
    for t in (0.01, 0.5):
        np.testing.assert_allclose(measure(guided(x, t).x_0), Y, atol=2e-4)
    for t in (0.0, 1.0):
        assert np.isfinite(guided(x, t).x_0).all()


def test_sampling_with_pigdm_draws_the_posterior_of_gaussian_data():
    schedule, num, noise_std = schedules.Cosine(), 4000, 0.5
    y = jnp.broadcast_to(jnp.asarray(Y[0], jnp.float32), (num, 2))
    guided = denoisers.pigdm(gaussian(schedule), schedule, measure, y, noise_std=noise_std, data_std=STD)
    table = samplers.ddpm(schedule, samplers.grids.log_snr(schedule, 300, start=0.99, end=0.01))
    keys = jax.random.split(jax.random.key(0), num)
    drawn = np.asarray(
        jax.jit(lambda keys: samplers.run(keys, guided, table, samplers.prior(keys, table, (4,))))(keys), float
    )
    mean, covariance = posterior(1 / STD**2, MEAN, noise_std, Y[0])
    spread = np.sqrt(np.diag(covariance))
    # Four standard errors, and the steps' own error, 0.007 of the spread at t = 0.01 and 300 steps.
    np.testing.assert_allclose((drawn.mean(0) - mean) / spread, 0, atol=4 / np.sqrt(num) + 0.02)
    np.testing.assert_allclose(
        np.cov(drawn.T) / np.outer(spread, spread), covariance / np.outer(spread, spread), atol=0.1
    )


def test_dps_under_ddpm_is_the_paper_s_step():
    """arXiv:2209.14687, algorithm 1: x' - step_size / |r| grad |r|^2, with the Jacobian of a Gaussian's denoiser."""
    schedule, num_steps, step_size = schedules.Discrete.linear(100), 100, 0.7
    x = RNG.normal(size=(3, 4))
    for t in (0.99, 0.4):
        times = np.array([t, t - 1 / num_steps])
        table = samplers.ddpm(schedule, times)
        keys = jax.random.split(jax.random.key(0), 3)
        with jax.enable_x64(True):
            exact = gaussian(schedule)
            guided = denoisers.dps(exact, schedule, measure, jnp.asarray(Y), step_size=step_size, num_steps=num_steps)
            got = samplers.run(keys, guided, table, jnp.asarray(x)) - samplers.run(keys, exact, table, jnp.asarray(x))
        alpha, sigma = float(schedule.alpha(t)), float(schedule.sigma(t))
        slope = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        x_0 = MEAN + slope * (x - alpha * MEAN)
        residual = Y - x_0 @ A.T
        expected = 2 * step_size * slope * residual @ A / np.linalg.norm(residual, axis=1, keepdims=True)
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("method", [denoisers.pigdm, denoisers.dps])
def test_a_sample_does_not_know_its_batch(method):
    schedule, x, y = schedules.Cosine(), jnp.asarray(RNG.normal(size=(3, 4)), jnp.float32), jnp.asarray(Y, jnp.float32)
    guided = jax.jit(lambda x, y: method(gaussian(schedule), schedule, measure, y)(x, 0.4))
    together, alone = guided(x, y), guided(x[1:2], y[1:2])
    np.testing.assert_allclose(together.x_0[1:2], alone.x_0, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", [denoisers.pigdm, denoisers.dps])
def test_a_measurement_of_the_wrong_shape_is_refused(method):
    schedule = schedules.Cosine()
    guided = method(gaussian(schedule), schedule, measure, jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"makes \(3, 2\) of x_t \(3, 4\), and y has shape \(3, 3\)"):
        guided(jnp.zeros((3, 4)), 0.5)


def test_the_operators():
    x = RNG.normal(size=(2, 6, 4, 3))
    down = np.asarray(denoisers.operators.downsampled(2)(jnp.asarray(x)))
    for i, j in ((0, 0), (2, 1)):
        np.testing.assert_allclose(down[1, i, j], x[1, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((0, 1)), rtol=1e-5)
    mask = np.zeros((6, 4, 1), bool)
    mask[2:] = True
    kept = np.asarray(denoisers.operators.masked(mask)(jnp.asarray(x, jnp.float32)))
    np.testing.assert_array_equal(kept[:, 2:], x[:, 2:].astype(np.float32))
    np.testing.assert_array_equal(kept[:, :2], 0)
    with pytest.raises(ValueError, match=r"downsampled\(4\) needs sides it divides, got 6 x 4"):
        denoisers.operators.downsampled(4)(jnp.asarray(x))


def test_a_blur_is_the_product_of_two_gaussians():
    point = np.zeros((1, 9, 9, 1), np.float32)
    point[0, 4, 3, 0] = 1
    blurred = np.asarray(denoisers.operators.blurred(0.8, radius=2)(jnp.asarray(point)))[0, :, :, 0]
    bell = np.exp(-0.5 * (np.arange(-2, 3) / 0.8) ** 2)
    expected = np.zeros((9, 9))
    expected[2:7, 1:6] = np.outer(bell, bell) / bell.sum() ** 2
    np.testing.assert_allclose(blurred, expected, atol=1e-7)
    bright = denoisers.operators.blurred(1.0)(jnp.ones((1, 9, 9, 1)))
    np.testing.assert_allclose(bright[0, 4, 4], 1, rtol=1e-6)  # away from the border the weights sum to 1
    assert bright[0, 0, 0] < 0.6
