"""Euler, Heun and midpoint steps of the probability-flow ODE, in the variable of one's choice."""

import itertools
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential
from diffax.samplers.exponential import Form, Increment, Point
from diffax.samplers.rows import Row, query_row, row_of, table_of
from diffax.samplers.table import SamplerTable, time_of
from diffax.typing import Schedule

Variable = Literal["t", "sigma", "log_snr"]


def euler(
    schedule: Schedule, times: npt.ArrayLike, *, variable: str = "sigma", form: str = "x_0", to_zero: bool = False
) -> SamplerTable:
    """Order 1, one evaluation a step. In sigma and in log_snr this is DDIM; in t it is not, but on schedules.Flow."""
    return _table("Euler", None, schedule, times, variable, form, to_zero)


def heun(
    schedule: Schedule, times: npt.ArrayLike, *, variable: str = "sigma", form: str = "x_0", to_zero: bool = False
) -> SamplerTable:
    """Order 2, two evaluations a step: the mean of the slopes at both ends (EDM, arXiv:2206.00364, algorithm 1).

    A step to sigma = 0 is Euler's, as in EDM: n steps to the data cost 2 n - 1 evaluations.

    Args:
      variable: what the polynomial is of: "t", where dx/dt = alpha' x_0 + sigma' eps; "sigma", which stands for
        sigma / alpha, where d(x / alpha) = eps d(sigma / alpha) (EDM's own); or "log_snr", with exact exponential
        weights.
      form: which half is interpolated in log_snr, "x_0" or "eps".
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: an unknown variable or form, times as for ddim.
    """
    return _table("Heun", 1.0, schedule, times, variable, form, to_zero)


def midpoint(
    schedule: Schedule, times: npt.ArrayLike, *, variable: str = "sigma", form: str = "x_0", to_zero: bool = False
) -> SamplerTable:
    """Order 2, two evaluations a step: the slope half way, in the variable. Arguments and errors as for heun.

    In log_snr this is DPM-Solver-2 (form "eps", arXiv:2206.00927, algorithm 1) and DPM-Solver++(2S) (form "x_0",
    arXiv:2211.01095, algorithm 1, r = 1/2). A step that starts at alpha = 0 or ends at sigma = 0, where sigma / alpha
    and log_snr are infinite, is DDIM's.
    """
    return _table("Midpoint", 0.5, schedule, times, variable, form, to_zero)


def _table(
    name: str,
    fraction: float | None,
    schedule: Schedule,
    times: npt.ArrayLike,
    variable: str,
    form: str,
    to_zero: bool,
) -> SamplerTable:
    if variable not in get_args(Variable):
        raise ValueError(f"variable must be 't', 'sigma' or 'log_snr', got {variable!r}")
    interpolated = exponential.form_of(form)
    schedule, points = exponential.points_of(schedule, times, to_zero=to_zero)
    rows: list[Row] = []
    for now, after in itertools.pairwise(points):
        rows += step_rows(schedule, variable, interpolated, fraction, now, after)
    return table_of(f"{name}({variable})", schedule, rows, to_zero_from=points[-1] if to_zero else None)


def step_rows(
    schedule: Schedule, variable: str, form: Form, fraction: float | None, now: Point, after: Point
) -> list[Row]:
    """One step whose second evaluation, if any, lies that fraction of the way: at the end for Heun, half way."""
    if exponential.is_singular(now, after) and (variable != "t" or now.sigma == 0):
        return [row_of(now.t, exponential.increment(form, (now.lam,), now, after))]
    # What eps is at sigma = 0 no network knows, so that nothing is evaluated there.
    if fraction is None or after.sigma == 0:
        return [row_of(now.t, _moved(schedule, variable, form, [(now, 1.0)], now, after))]
    stage = after if fraction == 1 else _between(schedule, variable, now, after, fraction)
    half = 1 / (2 * fraction)
    to_stage = query_row(now.t, _moved(schedule, variable, form, [(now, 1.0)], now, stage))
    slopes = [(stage, half), (now, 1 - half)]
    return [to_stage, row_of(stage.t, _moved(schedule, variable, form, slopes, now, after), push=False)]


def _moved(
    schedule: Schedule, variable: str, form: Form, slopes: list[tuple[Point, float]], now: Point, target: Point
) -> Increment:
    """The step from now to target with the weighted slopes, newest first."""
    if variable == "t":
        h = target.t - now.t
        alphas, sigmas = zip(*(derivatives(schedule, at.t) for at, _ in slopes), strict=True)
        scaled = [h * weight for _, weight in slopes]
        return Increment(1.0, tuple(np.multiply(scaled, alphas).tolist()), tuple(np.multiply(scaled, sigmas).tolist()))
    if variable == "sigma":
        a = target.alpha / now.alpha
        return Increment(a, (), tuple(weight * (target.sigma - a * now.sigma) for _, weight in slopes))
    return exponential.increment(form, tuple(at.lam for at, weight in slopes if weight), now, target)


def _between(schedule: Schedule, variable: str, now: Point, after: Point, fraction: float) -> Point:
    if variable == "t":
        return exponential.point(schedule, now.t + fraction * (after.t - now.t))
    if variable == "log_snr":
        return exponential.between(schedule, now, after, fraction)
    ratio = (1 - fraction) * now.sigma / now.alpha + fraction * after.sigma / after.alpha
    return exponential.point(schedule, float(time_of(schedule, -2 * np.log(ratio))))


def derivatives(schedule: Schedule, t: float) -> tuple[float, float]:
    """d alpha / dt and d sigma / dt."""
    with jax.enable_x64(True):
        alpha_slope, sigma_slope = slopes(schedule, np.float64(t))
        return float(alpha_slope), float(sigma_slope)


@jax.jit
def slopes(schedule: Schedule, t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """d alpha / dt and d sigma / dt, in t's dtype."""
    return jax.jvp(schedule.alpha, (t,), (jnp.ones_like(t),))[1], jax.jvp(schedule.sigma, (t,), (jnp.ones_like(t),))[1]
