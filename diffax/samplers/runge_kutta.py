"""Runge-Kutta methods for the probability-flow ODE: Euler, Heun and midpoint, in t, sigma / alpha or log-SNR."""

import itertools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential
from diffax.samplers.exponential import Increment, Interpolated, Point
from diffax.samplers.rows import Row, query_row, row_of, table_of
from diffax.samplers.table import SamplerTable, t_of_log_snr
from diffax.typing import Schedule

Variable = Literal["t", "sigma", "log_snr"]


def euler(schedule: Schedule, times: npt.ArrayLike, *, variable: str = "sigma", predict: str = "x_0") -> SamplerTable:
    """Euler's method for the probability-flow ODE: order 1, one evaluation per step.

    In sigma and in log_snr this is DDIM. In t it is DDIM only on schedules.Flow.

    Args:
      times: strictly monotone; one row for each interval.
      variable, predict: as in `heun`: "t", "sigma" or "log_snr"; and "x_0" or "eps" for "log_snr".

    Raises:
      ValueError: an unknown variable or predict, times not strictly monotone in [0, 1].
    """
    return _table("Euler", None, schedule, times, variable, predict)


def heun(schedule: Schedule, times: npt.ArrayLike, *, variable: str = "sigma", predict: str = "x_0") -> SamplerTable:
    """Heun's method for the probability-flow ODE: order 2, two evaluations per step.

    EDM (arXiv:2206.00364), algorithm 1. Each step uses the mean of the slopes at both its ends. A step to sigma = 0 is
    an Euler step, as in EDM, so that n steps down to the data cost 2 n - 1 evaluations.

    Args:
      times: strictly monotone; two rows for each interval, one for an Euler step.
      variable: the variable of integration: "t", where dx/dt = alpha' x_0 + sigma' eps; "sigma", which stands for
        sigma / alpha, where d(x / alpha) = eps d(sigma / alpha) (EDM's choice); or "log_snr", with exact exponential
        weights.
      predict: the prediction that is interpolated if the variable is "log_snr": "x_0" or "eps".

    Raises:
      ValueError: an unknown variable or predict, times not strictly monotone in [0, 1].
    """
    return _table("Heun", 1.0, schedule, times, variable, predict)


def midpoint(
    schedule: Schedule, times: npt.ArrayLike, *, variable: str = "sigma", predict: str = "x_0"
) -> SamplerTable:
    """The midpoint method for the probability-flow ODE: order 2, two evaluations per step.

    Each step uses the slope half way in the variable. In log_snr this is DPM-Solver-2 (predict="eps", arXiv:2206.00927,
    algorithm 1) and DPM-Solver++(2S) (predict="x_0", arXiv:2211.01095, algorithm 1, r = 1/2). A step that starts at
    alpha = 0 or ends at sigma = 0, where sigma / alpha and log_snr are infinite, is a DDIM step.

    Args:
      times: strictly monotone; two rows for each interval, one for a DDIM step.
      variable, predict: as in `heun`: "t", "sigma" or "log_snr"; and "x_0" or "eps" for "log_snr".

    Raises:
      ValueError: an unknown variable or predict, times not strictly monotone in [0, 1]; in sigma or log_snr, a schedule
        without an inverse of its log-SNR.
    """
    return _table("Midpoint", 0.5, schedule, times, variable, predict)


def _table(
    name: str, fraction: float | None, schedule: Schedule, times: npt.ArrayLike, variable: str, predict: str
) -> SamplerTable:
    if variable not in get_args(Variable):
        raise ValueError(f"variable must be 't', 'sigma' or 'log_snr', got {variable!r}")
    interpolated = exponential.interpolated_of(predict)
    schedule, points = exponential.points_of(schedule, times)
    rows: list[Row] = []
    for now, after in itertools.pairwise(points):
        rows += step_rows(schedule, variable, interpolated, fraction, now, after)
    return table_of(f"{name}({variable})", schedule, rows)


def step_rows(
    schedule: Schedule, variable: str, interpolated: Interpolated, fraction: float | None, now: Point, after: Point
) -> list[Row]:
    """One step with a second evaluation at that fraction of the way: 1 for Heun, 1/2 for midpoint, None for Euler."""
    if exponential.is_singular(now, after) and (variable != "t" or now.sigma == 0):
        return [row_of(now.t, exponential.increment(interpolated, (now.lam,), now, after))]
    # Networks are not trained at sigma = 0, so a step that ends there has no second evaluation.
    if fraction is None or after.sigma == 0:
        return [row_of(now.t, _moved(schedule, variable, interpolated, [(now, 1.0)], now, after))]
    stage = after if fraction == 1 else _between(schedule, variable, now, after, fraction)
    half = 1 / (2 * fraction)
    to_stage = query_row(now.t, _moved(schedule, variable, interpolated, [(now, 1.0)], now, stage))
    slopes = [(stage, half), (now, 1 - half)]
    return [to_stage, row_of(stage.t, _moved(schedule, variable, interpolated, slopes, now, after), push=False)]


def _moved(
    schedule: Schedule,
    variable: str,
    interpolated: Interpolated,
    slopes: list[tuple[Point, float]],
    now: Point,
    target: Point,
) -> Increment:
    """The step from now to target with a weighted mean of slopes, newest first."""
    if variable == "t":
        h = target.t - now.t
        alphas, sigmas = zip(*(derivatives(schedule, at.t) for at, _ in slopes), strict=True)
        scaled = [h * weight for _, weight in slopes]
        return Increment(1.0, tuple(np.multiply(scaled, alphas).tolist()), tuple(np.multiply(scaled, sigmas).tolist()))
    if variable == "sigma":
        a = target.alpha / now.alpha
        return Increment(a, (), tuple(weight * (target.sigma - a * now.sigma) for _, weight in slopes))
    return exponential.increment(interpolated, tuple(at.lam for at, weight in slopes if weight), now, target)


def _between(schedule: Schedule, variable: str, now: Point, after: Point, fraction: float) -> Point:
    """The Point at that fraction of the way from now to after in the variable."""
    if variable == "t":
        return exponential.point(schedule, now.t + fraction * (after.t - now.t))
    if variable == "log_snr":
        return exponential.between(schedule, now, after, fraction)
    ratio = (1 - fraction) * now.sigma / now.alpha + fraction * after.sigma / after.alpha
    return exponential.point(schedule, float(t_of_log_snr(schedule, -2 * np.log(ratio))))


def derivatives(schedule: Schedule, t: float) -> tuple[float, float]:
    """The derivatives d alpha / dt and d sigma / dt, in float64."""
    with jax.enable_x64(True):
        alpha_slope, sigma_slope = slopes(schedule, np.float64(t))
        return float(alpha_slope), float(sigma_slope)


@jax.jit
def slopes(schedule: Schedule, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The derivatives d alpha / dt and d sigma / dt, in t's dtype."""
    return jax.jvp(schedule.alpha, (t,), (jnp.ones_like(t),))[1], jax.jvp(schedule.sigma, (t,), (jnp.ones_like(t),))[1]
