"""Exponential Adams-Bashforth: the polynomial through the last predictions, one evaluation a step."""

import itertools

import numpy.typing as npt

from diffax.samplers import exponential
from diffax.samplers.dpm_solver import singlestep_rows
from diffax.samplers.exponential import Form, Point
from diffax.samplers.rows import Row, ddim_row, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def adams(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    order: int = 2,
    form: str = "x_0",
    start: str = "ramp",
    lower_order_final: bool = False,
    to_zero: bool = False,
) -> SamplerTable:
    """The multistep method of order 1 to 4 in x_0 or in eps, with exact exponential weights.

    In eps these are the tAB methods of DEIS (arXiv:2204.13902, eq. 15) with the polynomial in lambda; in x_0, order 2
    is DPM-Solver++(2M) of the "heun" kind, and order 3 what DPM-Solver++(3M) is meant to be. Order 1 is DDIM.

    Args:
      times: strictly monotone; one row for each interval.
      start: "ramp", the papers' orders 1, 2, ... for the first steps, which caps the order at 2; or "singlestep", which
        takes the first order - 1 steps by singlestep rows of that order (at most 3) and keeps it.
      lower_order_final: orders ..., 2, 1 for the last steps, for tables of few rows.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: an order not in 1..4, fewer steps than the order, an unknown form or start, times as for ddim.
    """
    interpolated = exponential.form_of(form)
    schedule, points = exponential.points_of(schedule, times, to_zero=to_zero)
    steps = len(points) - 1
    if order not in (1, 2, 3, 4):
        raise ValueError(f"order must be 1, 2, 3 or 4, got {order}")
    if start not in ("ramp", "singlestep"):
        raise ValueError(f"start must be 'ramp' or 'singlestep', got {start!r}")
    if steps < order:
        raise ValueError(f"order {order} needs at least {order} steps, got {steps}")
    rows: list[Row] = []
    for j, (now, after) in enumerate(itertools.pairwise(points)):
        usable = min(order, steps - j) if lower_order_final else order
        if start == "singlestep" and j < order - 1:
            rows += singlestep_rows(schedule, interpolated, min(order, 3), now, after)
        else:
            history = [earlier.lam for earlier in points[max(0, j + 1 - usable) : j + 1]][::-1]
            rows.append(multistep_row(interpolated, tuple(history), now, after))
    return table_of(f"Adams{order}({form})", schedule, rows, to_zero_from=points[-1] if to_zero else None)


def multistep_row(form: Form, nodes: tuple[float, ...], now: Point, after: Point) -> Row:
    """One step with predictions at lambda = nodes, the newest of them now."""
    if len(nodes) == 1 or exponential.is_singular(now, after):
        return ddim_row(now, after)
    a, x_0, eps = exponential.propagated(form, nodes, now, after)
    return Row(now.t, a, b=x_0, e=eps)
