"""Exponential Adams-Bashforth: its orders on an exact mixture, its limits, its errors."""

import jax
import numpy as np
import pytest

from diffax import samplers, schedules
from tests.samplers.convergence import SCHEDULES, slopes


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("predict", ["x_0", "eps"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_order(schedule, predict, order):
    def table(times):
        return samplers.adams(schedule, times, order=order, predict=predict, start="singlestep")

    assert np.all(slopes(schedule, table, (320, 640, 1280) if order == 4 else (80, 160, 320)) >= order - 0.2)


def test_order_one_is_ddim():
    """In its exponential form: x_0 and x instead of x_0 and eps."""
    times = samplers.grids.uniform(7)
    ours, ddim = samplers.adams(schedules.Cosine(), times, order=1), samplers.ddim(schedules.Cosine(), times)
    laws = [samplers.gaussian_law(table, schedules.Cosine(), [0.7, -0.3], [0.04, 0.8]) for table in (ours, ddim)]
    np.testing.assert_allclose(laws[0].mean, laws[1].mean, rtol=1e-12)
    np.testing.assert_allclose(laws[0].variance, laws[1].variance, rtol=1e-12)


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
    for predict in ("x_0", "eps"):
        table = samplers.adams(schedules.Cosine(), times, order=3, predict=predict, lower_order_final=True)
        assert all(np.isfinite(column).all() for column in jax.tree.leaves(table))
        np.testing.assert_array_equal(table.b[-1], [1, *np.zeros(table.b.shape[1] - 1)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 5}, "order must be 1, 2, 3 or 4, got 5"),
        ({"order": 4}, "order 4 needs at least 4 steps, got 3"),
        ({"predict": "v"}, "predict must be 'x_0' or 'eps', got 'v'"),
        ({"start": "warm"}, "start must be 'ramp' or 'singlestep', got 'warm'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        samplers.adams(schedules.Cosine(), samplers.grids.uniform(3), **options)
