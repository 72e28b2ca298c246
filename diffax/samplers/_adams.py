"""Exponential Adams-Bashforth: multistep exponential integrators of order 1 to 4 (DEIS, DPM-Solver++)."""

import itertools

import numpy.typing as npt

from diffax.samplers import exponential, multistep
from diffax.samplers._dpm_solver import singlestep_rows
from diffax.samplers.rows import Row, row_of, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def adams(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    order: int = 2,
    predict: str = "x_0",
    start: str = "ramp",
    lower_order_final: bool = False,
) -> SamplerTable:
    """Exponential Adams-Bashforth of order 1 to 4 in x_0 or eps, with exact weights; one evaluation per step.

    In eps these are the tAB methods of DEIS (arXiv:2204.13902, eq. 15) with the polynomial in lambda. In x_0, order 2
    is DPM-Solver++(2M) of the "heun" kind, and order 3 is DPM-Solver++(3M) with exact weights. Order 1 is DDIM.

    Args:
      times: strictly monotone; one row for each interval, more with start="singlestep".
      predict: the prediction that is interpolated, "x_0" or "eps".
      start: "ramp", the papers' choice, takes the first steps with orders 1, 2, ..., which limits the global order to
        2. "singlestep" takes the first order - 1 steps with a singlestep method of that order (at most 3), which keeps
        the order.
      lower_order_final: lowers the order of the last steps to ..., 2, 1, for few steps.

    Raises:
      ValueError: an order not in 1..4, fewer steps than the order, an unknown predict or start, times not strictly
        monotone in [0, 1].
    """
    multistep.check_order(order, (1, 2, 3, 4))
    if start not in ("ramp", "singlestep"):
        raise ValueError(f"start must be 'ramp' or 'singlestep', got {start!r}")
    interpolated = exponential.interpolated_of(predict)
    schedule, points = exponential.points_of(schedule, times)
    orders = multistep.orders_of(order, len(points) - 1, lower_order_final=lower_order_final)
    rows: list[Row] = []
    for j, (now, after) in enumerate(itertools.pairwise(points)):
        if start == "singlestep" and j < order - 1:
            rows += singlestep_rows(schedule, interpolated, min(order, 3), now, after)
        else:
            nodes = multistep.nodes(points, j, orders[j])
            rows.append(row_of(now.t, exponential.increment(interpolated, nodes, now, after)))
    return table_of(f"Adams{order}({predict})", schedule, rows)
