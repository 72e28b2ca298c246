"""Exact integrals of polynomials against exponentials: what exponential integrators are made of.

With lambda = log(alpha / sigma) = log_snr / 2, the probability-flow ODE of any schedule is solved by

  x_s = (sigma_s / sigma_t) x_t + alpha_s  int exp(lambda - lambda_s) x_0(lambda) d lambda
      = (alpha_s / alpha_t) x_t - sigma_s  int exp(lambda_s - lambda) eps(lambda) d lambda

over lambda from lambda_t to lambda_s (DPM-Solver, arXiv:2206.00927, proposition 3.1; DPM-Solver++, 2211.01095,
proposition 4.1). A method replaces x_0(lambda) or eps(lambda) by the polynomial through predictions it has.
"""

import enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from diffax.samplers.table import check_times, in_float64
from diffax.typing import Schedule

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


class Form(enum.Enum):
    """Which of the two halves a method interpolates."""

    X_0 = "x_0"
    EPS = "eps"


def form_of(name: str) -> Form:
    """The Form of that name.

    Raises:
      ValueError: an unknown name.
    """
    try:
        return Form(name)
    except ValueError:
        raise ValueError(f"form must be 'x_0' or 'eps', got {name!r}") from None


class Point(NamedTuple):
    """A time with its alpha, sigma and lambda."""

    t: float
    alpha: float
    sigma: float
    lam: float


def point(schedule: Schedule, t: float) -> Point:
    """The Point at t, in float64."""
    t = np.float64(t)
    return Point(float(t), float(schedule.alpha(t)), float(schedule.sigma(t)), float(schedule.log_snr(t)) / 2)


def points_of(schedule: Schedule, times: npt.ArrayLike, *, to_zero: bool) -> tuple[Schedule, list[Point]]:
    """The schedule in float64 and the Points of times, which a last row to pure data needs to be decreasing.

    Raises:
      ValueError: times that check_times refuses.
    """
    schedule, times = in_float64(schedule), check_times(times, decreasing=True if to_zero else None)
    return schedule, [point(schedule, t) for t in times]


def between(schedule: Schedule, start: Point, end: Point, fraction: float) -> Point:
    """The Point whose lambda lies that fraction of the way from start to end."""
    lam = start.lam + fraction * (end.lam - start.lam)
    return point(schedule, float(schedule.time_of(np.float64(2 * lam))))


def is_singular(start: Point, end: Point) -> bool:
    """Whether the step touches pure noise or pure data, where lambda is infinite: DDIM's step divides by nothing."""
    return 0 in (start.alpha, start.sigma, end.alpha, end.sigma)


def decay(form: Form, start: Point, end: Point) -> float:
    """The factor of x_t: sigma_s / sigma_t or alpha_s / alpha_t."""
    return end.sigma / start.sigma if form is Form.X_0 else end.alpha / start.alpha


def interpolation_weights(form: Form, nodes: tuple[float, ...], start: Point, end: Point) -> tuple[float, ...]:
    """The factor of each prediction at lambda = nodes[i]: the integral of its Lagrange polynomial."""
    sign = 1.0 if form is Form.X_0 else -1.0
    half = (end.lam - start.lam) / 2
    lam = start.lam + half * (1 + _NODES)
    kernel = half * _WEIGHTS * np.exp(sign * (lam - end.lam)) * (end.alpha if form is Form.X_0 else -end.sigma)
    basis = [np.prod([(lam - other) / (node - other) for other in nodes if other != node], axis=0) for node in nodes]
    return tuple(float(np.sum(kernel * polynomial)) for polynomial in basis)


def propagated(
    form: Form, nodes: tuple[float, ...], start: Point, end: Point
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """The factors of x at start, of the x_0s and of the eps that make x at end, with predictions at lambda = nodes."""
    weights = interpolation_weights(form, nodes, start, end)
    a = decay(form, start, end)
    return (a, weights, ()) if form is Form.X_0 else (a, (), weights)
