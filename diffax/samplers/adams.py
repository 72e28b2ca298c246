"""Exponential Adams-Bashforth: the polynomial through the last predictions, one evaluation a step."""

import itertools

import numpy.typing as npt

from diffax.samplers import exponential, multistep
from diffax.samplers.dpm_solver import singlestep_rows
from diffax.samplers.rows import Row, row_of, table_of
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
    multistep.check_order(order, (1, 2, 3, 4))
    if start not in ("ramp", "singlestep"):
        raise ValueError(f"start must be 'ramp' or 'singlestep', got {start!r}")
    interpolated = exponential.form_of(form)
    schedule, points = exponential.points_of(schedule, times, to_zero=to_zero)
    orders = multistep.orders_of(order, len(points) - 1, lower_order_final=lower_order_final)
    rows: list[Row] = []
    for j, (now, after) in enumerate(itertools.pairwise(points)):
        if start == "singlestep" and j < order - 1:
            rows += singlestep_rows(schedule, interpolated, min(order, 3), now, after)
        else:
            nodes = multistep.nodes(points, j, orders[j])
            rows.append(row_of(now.t, exponential.increment(interpolated, nodes, now, after)))
    return table_of(f"Adams{order}({form})", schedule, rows, to_zero_from=points[-1] if to_zero else None)
