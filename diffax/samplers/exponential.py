"""Exponential integrators: exact integrals of polynomials against exponentials.

With lambda = log(alpha / sigma) = log_snr / 2, the probability-flow ODE of any noise schedule has the solution

  x_s = (sigma_s / sigma_t) x_t + alpha_s  int exp(lambda - lambda_s) x_0(lambda) d lambda
      = (alpha_s / alpha_t) x_t - sigma_s  int exp(lambda_s - lambda) eps(lambda) d lambda

over lambda from lambda_t to lambda_s (DPM-Solver, arXiv:2206.00927, proposition 3.1; DPM-Solver++, 2211.01095,
proposition 4.1). A method of this family replaces x_0(lambda) or eps(lambda) by the polynomial that interpolates the
predictions made so far.

With tau > 0 the equation solved is a reverse SDE with the same marginals, whose noise is tau times that of the process
itself (SA-Solver, arXiv:2309.05019, eq. 5 and proposition 4.2; tau = 1 gives the SDE-DPM-Solvers, arXiv:2211.01095,
section 5). With h = lambda_s - lambda_t and fresh noise z its solution is

  x_s = (sigma_s / sigma_t) exp(-tau^2 h) x_t + alpha_s (1 + tau^2) int exp((1 + tau^2)(lambda - lambda_s)) x_0 d lambda
        + sigma_s sqrt(1 - exp(-2 tau^2 h)) z
      = (alpha_s / alpha_t) x_t - sigma_s (1 + tau^2) int exp(lambda_s - lambda) eps d lambda
        + tau sigma_s sqrt(exp(2 h) - 1) z
"""

import enum
import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from diffax import arrays
from diffax.samplers.table import check_times, t_of_log_snr
from diffax.typing import Schedule

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)


class Interpolated(enum.Enum):
    """Which of the two predictions a method interpolates."""

    X_0 = "x_0"
    EPS = "eps"


def interpolated_of(predict: str) -> Interpolated:
    """The prediction that the option `predict` of a sampler names.

    Raises:
      ValueError: an unknown name.
    """
    try:
        return Interpolated(predict)
    except ValueError:
        raise ValueError(f"predict must be 'x_0' or 'eps', got {predict!r}") from None


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


def points_of(
    schedule: Schedule, times: npt.ArrayLike, *, decreasing: bool | None = None
) -> tuple[Schedule, list[Point]]:
    """The schedule in float64 and the Point of each time.

    Args:
      decreasing: the direction that the times must have; None for either.

    Raises:
      ValueError: times that check_times refuses.
    """
    schedule, times = arrays.in_float64(schedule), check_times(times, decreasing=decreasing)
    return schedule, [point(schedule, t) for t in times]


def between(schedule: Schedule, start: Point, end: Point, fraction: float) -> Point:
    """The Point at that fraction of the way from start to end in lambda."""
    lam = start.lam + fraction * (end.lam - start.lam)
    return point(schedule, float(t_of_log_snr(schedule, 2 * lam)))


def is_singular(start: Point, end: Point) -> bool:
    """Whether a step starts or ends at pure noise or pure data, where lambda is infinite."""
    return 0 in (start.alpha, start.sigma, end.alpha, end.sigma)


class Increment(NamedTuple):
    """The coefficients of one step: x_s = keep x_t + the weighted x_0 and eps predictions, newest first, + noise z."""

    keep: float = 0.0
    x_0: tuple[float, ...] = ()
    eps: tuple[float, ...] = ()
    noise: float = 0.0


def increment(
    interpolated: Interpolated, nodes: tuple[float, ...], start: Point, end: Point, *, tau: float = 0.0
) -> Increment:
    """One step of an exponential integrator, with the polynomial that interpolates predictions at lambda = nodes.

    A step from or to pure noise or pure data, where lambda is infinite, is the DDIM step, which has no division and
    uses the prediction at start alone. With tau > 0 such a step draws x_s from q(x_s | x_0) with the predicted x_0.
    """
    if is_singular(start, end):
        return Increment(0.0, (end.alpha,), (), end.sigma) if tau > 0 else Increment(0.0, (end.alpha,), (end.sigma,))
    return with_weights(
        interpolated, interpolation_weights(interpolated, nodes, start, end, tau=tau), start, end, tau=tau
    )


def with_weights(
    interpolated: Interpolated, weights: tuple[float, ...], start: Point, end: Point, *, tau: float = 0.0
) -> Increment:
    """One step with given weights of the predictions; neither end may be singular."""
    h = end.lam - start.lam
    if interpolated is Interpolated.X_0:
        keep, noise = end.sigma / start.sigma * np.exp(-(tau**2) * h), end.sigma * np.sqrt(-np.expm1(-2 * tau**2 * h))
        return Increment(float(keep), weights, (), float(noise))
    noise = tau * end.sigma * np.sqrt(np.expm1(2 * h)) if tau > 0 else 0.0
    return Increment(end.alpha / start.alpha, (), weights, float(noise))


def interpolation_weights(
    interpolated: Interpolated, nodes: tuple[float, ...], start: Point, end: Point, *, tau: float = 0.0
) -> tuple[float, ...]:
    """The weights of predictions at lambda = nodes[i]: the integrals of their Lagrange polynomials."""
    lam, kernel = _kernel(interpolated, start, end, tau)
    basis = [math.prod((lam - other) / (node - other) for other in nodes if other != node) for node in nodes]
    return tuple(float(np.sum(kernel * polynomial)) for polynomial in basis)


def moment(interpolated: Interpolated, power: int, start: Point, end: Point, *, tau: float = 0.0) -> float:
    """The integral with (lambda - lambda_t)^power in place of the prediction."""
    lam, kernel = _kernel(interpolated, start, end, tau)
    return float(np.sum(kernel * (lam - start.lam) ** power))


def _kernel(interpolated: Interpolated, start: Point, end: Point, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of a Gauss-Legendre quadrature over the step, and its weights times the integral kernel."""
    half = (end.lam - start.lam) / 2
    lam = start.lam + half * (1 + _NODES)
    weights = half * _WEIGHTS * (1 + tau**2)
    if interpolated is Interpolated.X_0:
        return lam, end.alpha * weights * np.exp((1 + tau**2) * (lam - end.lam))
    return lam, -end.sigma * weights * np.exp(end.lam - lam)
