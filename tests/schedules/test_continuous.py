"""Schedules with closed forms, against the papers' formulas written in float64 NumPy."""

import numpy as np
import pytest

from tests.cases import CONTINUOUS, EPS, INNER, TIMES, change_over_one_ulp, in_float32


def b(t):
    """The exponent of arXiv:2011.13456, eq. 33, times -2."""
    return t**2 * (20.0 - 0.1) / 2 + t * 0.1


def logistic(x):
    return 1 / (1 + np.exp(-x))


def fall(t, start, end, tau):
    """alpha^2 as arXiv:2212.11972, algorithm 1, has it."""
    v_start, v_end = logistic(start / tau), logistic(end / tau)
    return (v_end - logistic((t * (end - start) + start) / tau)) / (v_end - v_start)


def ones(t):
    return np.ones_like(t)


# Name to (alpha, sigma) as the papers print them.
PAPERS = {
    "cosine": (lambda t: np.cos(np.pi / 2 * t), lambda t: np.sin(np.pi / 2 * t)),
    "linear_beta": (lambda t: np.exp(-b(t) / 2), lambda t: np.sqrt(-np.expm1(-b(t)))),
    "sigmoid": (lambda t: np.sqrt(fall(t, -3, 3, 1)), lambda t: np.sqrt(1 - fall(t, -3, 3, 1))),
    "steep_sigmoid": (lambda t: np.sqrt(fall(t, 0, 3, 0.3)), lambda t: np.sqrt(1 - fall(t, 0, 3, 0.3))),
    "variance_exploding": (ones, lambda t: 0.01 * (50 / 0.01) ** t),
    "edm": (ones, lambda t: 0.002 * (80 / 0.002) ** t),
    "sub_vp": (lambda t: np.exp(-b(t) / 2), lambda t: -np.expm1(-b(t))),
    "flow": (lambda t: 1 - t, lambda t: t),
}


@pytest.mark.parametrize("name", PAPERS)
def test_alpha_and_sigma_are_the_papers_to_float32(name):
    # 8 ulp for a few elementary functions of few-ulp error (VE: the exponential of a logarithm as large as 6), plus t's
    # own rounding. 1e-15: the papers' sigmoid in float64, which cancels at the ends.
    for value, paper in zip(in_float32(name), PAPERS[name], strict=False):
        expected = paper(TIMES.astype(np.float64))
        tolerance = 8 * EPS * np.abs(expected) + change_over_one_ulp(paper, TIMES)
        assert value.dtype == np.float32
        assert np.all(
            np.abs(value.astype(np.float64) ** 2 - expected**2)
            <= 2 * np.abs(expected) * tolerance + tolerance**2 + 1e-15
        )


@pytest.mark.parametrize("name", PAPERS)
def test_log_snr_is_the_papers_to_float32(name):
    def log_snr(t):
        alpha, sigma = PAPERS[name]
        with np.errstate(divide="ignore"):
            return 2 * (np.log(alpha(t)) - np.log(sigma(t)))

    expected = log_snr(INNER.astype(np.float64))
    # Two logarithms, the larger of about |log_snr|, each a few ulp off; and t's own rounding.
    tolerance = 4 * EPS * np.maximum(1, np.abs(expected)) + change_over_one_ulp(log_snr, INNER)
    assert np.all(np.abs(in_float32(name)[2][np.isin(TIMES, INNER)] - expected) <= tolerance)


@pytest.mark.parametrize("name", PAPERS)
def test_in_float64_the_papers_hold_to_float64(name):
    t = np.linspace(1e-3, 1 - 1e-3, 101)
    alpha, sigma = PAPERS[name]
    # 2e-10: the papers' own differences near the ends, 1e-16 of 1 against alpha^2 of 1e-6.
    with np.errstate(all="raise"):
        np.testing.assert_allclose(CONTINUOUS[name].alpha(t), alpha(t), rtol=2e-10)
        np.testing.assert_allclose(CONTINUOUS[name].sigma(t), sigma(t), rtol=2e-10)
