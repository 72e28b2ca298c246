"""Exact integrals of polynomials against exponentials: what exponential integrators are made of.

With lambda = log(alpha / sigma) = log_snr / 2, the probability-flow ODE of any schedule is solved by

  x_s = (sigma_s / sigma_t) x_t + alpha_s  int exp(lambda - lambda_s) x_0(lambda) d lambda
      = (alpha_s / alpha_t) x_t - sigma_s  int exp(lambda_s - lambda) eps(lambda) d lambda

over lambda from lambda_t to lambda_s (DPM-Solver, arXiv:2206.00927, proposition 3.1; DPM-Solver++, 2211.01095,
proposition 4.1). A method replaces x_0(lambda) or eps(lambda) by the polynomial through predictions it has.

With tau > 0 it is the reverse SDE that is solved, whose noise is tau times as strong as that of the process itself and
which has the same marginals (SA-Solver, arXiv:2309.05019, eq. 5 and proposition 4.2; tau = 1 are the SDE-DPM-Solvers,
arXiv:2211.01095, section 5). With h = lambda_s - lambda_t and fresh noise z it is

  x_s = (sigma_s / sigma_t) exp(-tau^2 h) x_t + alpha_s (1 + tau^2) int exp((1 + tau^2)(lambda - lambda_s)) x_0 d lambda
        + sigma_s sqrt(1 - exp(-2 tau^2 h)) z
      = (alpha_s / alpha_t) x_t - sigma_s (1 + tau^2) int exp(lambda_s - lambda) eps d lambda
        + tau sigma_s sqrt(exp(2 h) - 1) z
"""

import enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from diffax.samplers.table import check_times, in_float64, time_of
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
    return point(schedule, float(time_of(schedule, 2 * lam)))


def is_singular(start: Point, end: Point) -> bool:
    """Whether the step touches pure noise or pure data, where lambda is infinite: DDIM's step divides by nothing."""
    return 0 in (start.alpha, start.sigma, end.alpha, end.sigma)


class Increment(NamedTuple):
    """One step: x at its end = keep x at its start + the weighted x_0s and eps, newest first + noise times z."""

    keep: float = 0.0
    x_0: tuple[float, ...] = ()
    eps: tuple[float, ...] = ()
    noise: float = 0.0


def increment(form: Form, nodes: tuple[float, ...], start: Point, end: Point, *, tau: float = 0.0) -> Increment:
    """The step with the polynomial through predictions at lambda = nodes in the integral.

    To or from pure noise or pure data, where lambda is infinite, it is DDIM's, which divides by nothing and has one
    prediction, that at start; with tau > 0 no eps survives a step from pure noise.
    """
    if is_singular(start, end):
        return Increment(0.0, (end.alpha,), (), end.sigma) if tau > 0 else Increment(0.0, (end.alpha,), (end.sigma,))
    return with_weights(form, interpolation_weights(form, nodes, start, end, tau=tau), start, end, tau=tau)


def with_weights(form: Form, weights: tuple[float, ...], start: Point, end: Point, *, tau: float = 0.0) -> Increment:
    """The step with any weights of the predictions; neither end may be singular."""
    h = end.lam - start.lam
    if form is Form.X_0:
        keep, noise = end.sigma / start.sigma * np.exp(-(tau**2) * h), end.sigma * np.sqrt(-np.expm1(-2 * tau**2 * h))
        return Increment(float(keep), weights, (), float(noise))
    noise = tau * end.sigma * np.sqrt(np.expm1(2 * h)) if tau > 0 else 0.0
    return Increment(end.alpha / start.alpha, (), weights, float(noise))


def interpolation_weights(
    form: Form, nodes: tuple[float, ...], start: Point, end: Point, *, tau: float = 0.0
) -> tuple[float, ...]:
    """The factor of each prediction at lambda = nodes[i]: the integral of its Lagrange polynomial."""
    lam, kernel = _kernel(form, start, end, tau)
    basis = [np.prod([(lam - other) / (node - other) for other in nodes if other != node], axis=0) for node in nodes]
    return tuple(float(np.sum(kernel * polynomial)) for polynomial in basis)


def moment(form: Form, power: int, start: Point, end: Point, *, tau: float = 0.0) -> float:
    """The integral of (lambda - lambda_t)^power, in the place of a prediction."""
    lam, kernel = _kernel(form, start, end, tau)
    return float(np.sum(kernel * (lam - start.lam) ** power))


def _kernel(form: Form, start: Point, end: Point, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes of a quadrature over the step, and its weights times what the prediction is integrated against."""
    half = (end.lam - start.lam) / 2
    lam = start.lam + half * (1 + _NODES)
    weights = half * _WEIGHTS * (1 + tau**2)
    if form is Form.X_0:
        return lam, end.alpha * weights * np.exp((1 + tau**2) * (lam - end.lam))
    return lam, -end.sigma * weights * np.exp(end.lam - lam)
