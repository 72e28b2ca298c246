"""Exponential Adams-Bashforth: its orders on an exact mixture, its limits, its errors."""

import jax
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules

SCHEDULES = [schedules.Cosine(), schedules.VarianceExploding(0.02, 20.0), schedules.Flow()]


def errors(schedule, table_of, steps):
    """The largest error at t = 0.02 from t = 0.98, against the same ODE solved by 3,000 steps of classical Runge-Kutta.

    Steps uniform in log-SNR, an exact denoiser, float64.
    """
    mixture = denoisers.gaussian_mixture(
        schedule, [0.3, 0.3, 0.4], [[1.0, 0.5], [-1.0, 0.2], [0.3, -1.0]], [0.3, 0.4, 0.5]
    )
    x = jax.random.normal(jax.random.key(0), (8, 2)) * float(schedule.sigma(0.98))
    reference = runge_kutta(schedule, mixture, x, 3000)
    run = jax.jit(samplers.run)
    grids = [samplers.grids.log_snr(schedule, n, start=0.98, end=0.02) for n in steps]
    return np.array([np.abs(run(table_of(grid), mixture, x) - reference).max() for grid in grids])


def runge_kutta(schedule, denoiser, x, num_steps):
    """d(x / alpha) / d(sigma / alpha) = eps by Runge-Kutta 4 in log(sigma / alpha), sharing no code with the tables."""
    low, high = (float(-schedule.log_snr(t) / 2) for t in (0.02, 0.98))
    log_ratio = np.linspace(high, low, num_steps + 1)
    h = log_ratio[1] - log_ratio[0]

    def slope(z, u):
        t = schedule.time_of(-2 * u)
        return jax.numpy.exp(u) * denoiser(z * schedule.alpha(t), t).eps

    def step(z, u):
        k1 = slope(z, u)
        k2 = slope(z + h / 2 * k1, u + h / 2)
        k3 = slope(z + h / 2 * k2, u + h / 2)
        k4 = slope(z + h * k3, u + h)
        return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    z, _ = jax.lax.scan(step, x / schedule.alpha(0.98), jax.numpy.asarray(log_ratio[:-1]))
    return z * schedule.alpha(0.02)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("form", ["x_0", "eps"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_order(x64, schedule, form, order):
    def table(times):
        return samplers.adams(schedule, times, order=order, form=form, start="singlestep")

    size = errors(schedule, table, (320, 640, 1280) if order == 4 else (80, 160, 320))
    assert np.all(np.log2(size[:-1] / size[1:]) >= order - 0.2)


def test_order_one_is_ddim():
    times = samplers.grids.uniform(7)
    ours, ddim = samplers.adams(schedules.Cosine(), times, order=1), samplers.ddim(schedules.Cosine(), times)
    np.testing.assert_array_equal(ours.b, ddim.b)
    assert ours.a is None and ddim.a is None


def test_second_order_weights_against_the_closed_form():
    """DPM-Solver++ (arXiv:2211.01095, eq. 9 and appendix B): with h the step in lambda and r = h_before / h,
    alpha_s ((1 - e^-h) x_0 + (1 - (1 - e^-h) / h) (x_0 - x_0_before) / r)."""
    times = np.array([0.7, 0.55, 0.3, 0.25])
    schedule = schedules.Cosine()
    table = samplers.adams(schedule, times, order=2)
    lam = np.asarray(schedule.log_snr(times)) / 2
    for j in (1, 2):
        h, r = lam[j + 1] - lam[j], (lam[j] - lam[j - 1]) / (lam[j + 1] - lam[j])
        slope = (1 - (1 - np.exp(-h)) / h) / r
        alpha = float(schedule.alpha(times[j + 1]))
        np.testing.assert_allclose(table.b[j], alpha * np.array([1 - np.exp(-h) + slope, -slope]), rtol=1e-10)
        np.testing.assert_allclose(table.a[j], schedule.sigma(times[j + 1]) / schedule.sigma(times[j]))


def test_both_ends_are_finite_and_lower_order_final_ends_in_ddim():
    times = samplers.grids.uniform(6)  # from pure noise to pure data: lambda is infinite at both ends
    for form in ("x_0", "eps"):
        table = samplers.adams(schedules.Cosine(), times, order=3, form=form, lower_order_final=True)
        assert all(np.isfinite(column).all() for column in jax.tree.leaves(table))
        np.testing.assert_array_equal(table.b[-1], [1, *np.zeros(table.b.shape[1] - 1)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"order": 5}, "order must be 1, 2, 3 or 4, got 5"),
        ({"order": 4}, "order 4 needs at least 4 steps, got 3"),
        ({"form": "v"}, "form must be 'x_0' or 'eps', got 'v'"),
        ({"start": "warm"}, "start must be 'ramp' or 'singlestep', got 'warm'"),
    ],
)
def test_errors(options, said):
    with pytest.raises(ValueError, match=said):
        samplers.adams(schedules.Cosine(), samplers.grids.uniform(3), **options)
