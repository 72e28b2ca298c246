"""Euler, Heun, midpoint and singlestep DPM-Solver: the papers' formulas, and their orders on an exact mixture."""

import jax
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules
from tests.samplers.convergence import SCHEDULES, slopes

COSINE = schedules.Cosine()
KINDS = [("t", "x_0"), ("sigma", "x_0"), ("log_snr", "x_0"), ("log_snr", "eps")]
X = np.random.default_rng(0).normal(size=(4, 2))
MIXTURE = denoisers.gaussian_mixture(COSINE, [0.4, 0.6], [[1.0, -0.5], [-0.5, 0.7]], [0.3, 0.5])


def one_step(table):
    """The result of a table from X under MIXTURE, float64."""
    return np.asarray(jax.jit(samplers.run)(None, MIXTURE, table, jax.numpy.asarray(X)))


def predicted(x, t):
    x_0, eps, _ = MIXTURE(jax.numpy.asarray(x), jax.numpy.float64(t))
    return np.asarray(x_0), np.asarray(eps)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("method", [samplers.heun, samplers.midpoint], ids=lambda m: m.__name__)
@pytest.mark.parametrize(("variable", "predict"), KINDS)
def test_order_2(schedule, method, variable, predict):
    def table(times):
        return method(schedule, times, variable=variable, predict=predict)

    assert np.all(slopes(schedule, table, (160, 320, 640)) >= 2 - 0.2)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_euler_in_t_is_of_order_1(schedule):
    assert np.all(slopes(schedule, lambda times: samplers.euler(schedule, times, variable="t"), (160, 320, 640)) > 0.8)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("predict", ["x_0", "eps"])
@pytest.mark.parametrize("order", [2, 3])
def test_order_of_dpm_solver(schedule, predict, order):
    def table(times):
        return samplers.dpm_solver(schedule, times, order=order, predict=predict)

    assert np.all(slopes(schedule, table, (80, 160, 320)) >= order - 0.2)


def test_heun_in_sigma_is_that_of_edm(x64):
    """arXiv:2206.00364, algorithm 1, in x / alpha and sigma / alpha, where EDM's slope (x - D) / sigma is eps."""
    t, s = 0.7, 0.4
    a_t, a_s = (float(COSINE.alpha(np.float64(u))) for u in (t, s))
    ratio_t, ratio_s = (float(COSINE.sigma(np.float64(u))) / a for u, a in ((t, a_t), (s, a_s)))
    d = predicted(X, t)[1]
    euler = X / a_t + (ratio_s - ratio_t) * d
    d_next = predicted(a_s * euler, s)[1]
    expected = a_s * (X / a_t + (ratio_s - ratio_t) * (d + d_next) / 2)
    np.testing.assert_allclose(one_step(samplers.heun(COSINE, [t, s])), expected, rtol=1e-12)


def test_heun_and_midpoint_in_t(x64):
    """dx/dt = alpha' x_0 + sigma' eps, with the cosine schedule's derivatives."""
    t, s = 0.7, 0.4

    def slope(x, u):
        x_0, eps = predicted(x, u)
        return np.pi / 2 * (-np.sin(np.pi / 2 * u) * x_0 + np.cos(np.pi / 2 * u) * eps)

    first = slope(X, t)
    heun = X + (s - t) * (first + slope(X + (s - t) * first, s)) / 2
    np.testing.assert_allclose(one_step(samplers.heun(COSINE, [t, s], variable="t")), heun, rtol=1e-10)
    middle = X + (s - t) * slope(X + (s - t) / 2 * first, (t + s) / 2)
    np.testing.assert_allclose(one_step(samplers.midpoint(COSINE, [t, s], variable="t")), middle, rtol=1e-10)


def lambdas(t, s, fractions):
    """alpha, sigma and time at these fractions of the way from t to s in lambda, and the whole step h."""
    lam_t, lam_s = (float(COSINE.log_snr(np.float64(u))) / 2 for u in (t, s))
    lam = lam_t + np.array([0.0, *fractions, 1.0]) * (lam_s - lam_t)
    return (
        1 / np.sqrt(1 + np.exp(-2 * lam)),
        1 / np.sqrt(1 + np.exp(2 * lam)),
        COSINE.t_of_log_snr(2 * lam),
        lam_s - lam_t,
    )


def test_dpm_solver_2_is_that_of_the_paper(x64):
    """arXiv:2206.00927, algorithm 1."""
    alpha, sigma, times, h = lambdas(0.7, 0.4, [0.5])
    u = alpha[1] / alpha[0] * X - sigma[1] * np.expm1(h / 2) * predicted(X, times[0])[1]
    expected = alpha[2] / alpha[0] * X - sigma[2] * np.expm1(h) * predicted(u, times[1])[1]
    table = samplers.dpm_solver(COSINE, [0.7, 0.4], order=2)
    np.testing.assert_allclose(one_step(table), expected, rtol=1e-9)
    assert table.num_evaluations == 2


def test_dpm_solver_3_is_that_of_the_paper(x64):
    """arXiv:2206.00927, algorithm 2, r_1 = 1/3, r_2 = 2/3."""
    alpha, sigma, times, h = lambdas(0.7, 0.4, [1 / 3, 2 / 3])
    eps = predicted(X, times[0])[1]
    u_1 = alpha[1] / alpha[0] * X - sigma[1] * np.expm1(h / 3) * eps
    d_1 = predicted(u_1, times[1])[1] - eps
    u_2 = alpha[2] / alpha[0] * X - sigma[2] * np.expm1(2 * h / 3) * eps
    u_2 = u_2 - sigma[2] * 2 * (np.expm1(2 * h / 3) / (2 * h / 3) - 1) * d_1
    d_2 = predicted(u_2, times[2])[1] - eps
    expected = alpha[3] / alpha[0] * X - sigma[3] * np.expm1(h) * eps - sigma[3] * 1.5 * (np.expm1(h) / h - 1) * d_2
    np.testing.assert_allclose(one_step(samplers.dpm_solver(COSINE, [0.7, 0.4], order=3)), expected, rtol=1e-9)


def test_euler_is_ddim_but_for_t():
    times = samplers.grids.uniform(6)
    ddim = samplers.ddim(COSINE, times)
    x = jax.numpy.asarray(X, "float32")
    expected = samplers.run(None, MIXTURE, ddim, x)
    for variable in ("sigma", "log_snr"):
        result = samplers.run(None, MIXTURE, samplers.euler(COSINE, times, variable=variable), x)
        np.testing.assert_allclose(result, expected, atol=1e-5)
    assert np.abs(samplers.run(None, MIXTURE, samplers.euler(COSINE, times, variable="t"), x) - expected).max() > 1e-3
    flow, mixture = schedules.Flow(), denoisers.gaussian_mixture(schedules.Flow(), [1.0], [[0.3, 0.1]], [0.5])
    np.testing.assert_allclose(
        samplers.run(None, mixture, samplers.euler(flow, times, variable="t"), x),
        samplers.run(None, mixture, samplers.ddim(flow, times), x),
        atol=1e-5,
    )


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("method", [samplers.euler, samplers.heun, samplers.midpoint], ids=lambda m: m.__name__)
@pytest.mark.parametrize(("variable", "predict"), KINDS)
def test_from_pure_noise_to_pure_data_and_back(schedule, method, variable, predict):
    """lambda is infinite at both ends; nothing is evaluated at the data on the way down."""
    down = method(schedule, samplers.grids.uniform(5), variable=variable, predict=predict)
    up = method(schedule, samplers.grids.uniform(5)[::-1], variable=variable, predict=predict)
    for table in (down, up):
        assert all(np.isfinite(column).all() for column in jax.tree.leaves(table))
    if method is samplers.heun and float(schedule.sigma(0.0)) == 0:
        assert down.times.min() > 0 and down.num_evaluations <= 2 * 5 - 1


def test_errors():
    times = samplers.grids.uniform(3)
    with pytest.raises(ValueError, match="variable must be 't', 'sigma' or 'log_snr', got 'x'"):
        samplers.heun(COSINE, times, variable="x")
    with pytest.raises(ValueError, match="predict must be"):
        samplers.midpoint(COSINE, times, variable="log_snr", predict="v")
    with pytest.raises(ValueError, match="order must be 1, 2 or 3, got 4"):
        samplers.dpm_solver(COSINE, times, order=4)
