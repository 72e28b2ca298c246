"""DPM-Solver++ in its multistep form, as published and as exact weights have it, of the ODE and of the SDE."""

import itertools
from typing import Literal, get_args

import numpy.typing as npt

from diffax.samplers import exponential, multistep
from diffax.samplers.exponential import Form, Increment, Point
from diffax.samplers.rows import row_of, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule

Weights = Literal["midpoint", "exact", "published"]
# As diffusers does: below this, the last steps fall back to lower orders.
FEW_STEPS = 15


def dpm_solver_multistep(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    order: int = 2,
    weights: str | None = None,
    form: str = "x_0",
    tau: float = 0.0,
    lower_order_final: bool | None = None,
    to_zero: bool = False,
) -> SamplerTable:
    """DPM-Solver++(2M) and (3M) (arXiv:2211.01095, algorithm 2), and of the SDE, at tau = 1 SDE-DPM-Solver++(2M).

    Starts with orders 1, 2, which caps order 3 at 2: see adams(start="singlestep") for the order in full.

    Args:
      times: strictly monotone, decreasing if tau > 0; one row for each interval.
      order: 1 (DDIM), 2 or 3.
      weights: of the slope. For order 2 "midpoint", the default, or "exact", called "heun" elsewhere. For order 3
        "exact", the default; or "published", which has half of the curvature that order 3 needs and so is of order 2
        (the SDE's published 3M has its sign wrong as well, diverges with many steps, and is not here).
      form: "x_0", or "eps" for DPM-Solver-2 and -3 in multistep form (diffusers' algorithm_type "dpmsolver").
      tau: how much of the process' own noise the reverse SDE has; 0 is the ODE.
      lower_order_final: orders ..., 2, 1 for the last steps; by default for fewer than 15 steps.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: an order not in 1..3, fewer steps than the order, weights that this order does not have, a negative
        tau, "published" with tau > 0, times as for ddim.
    """
    multistep.check_order(order, (1, 2, 3))
    kind = weights or ("exact" if order == 3 else "midpoint")
    if kind not in get_args(Weights) or (kind, order) in (("midpoint", 3), ("published", 2)):
        raise ValueError(
            f"weights must be 'midpoint' or 'exact' for order 2, 'exact' or 'published' for order 3, got {kind!r}"
        )
    if kind == "published" and tau > 0:
        raise ValueError("the published SDE of order 3 diverges: use weights='exact'")
    interpolated = exponential.form_of(form)
    schedule, points = exponential.points_of(schedule, times, to_zero=to_zero or multistep.is_noisy(tau))
    steps = len(points) - 1
    lower = steps < FEW_STEPS if lower_order_final is None else lower_order_final
    orders = multistep.orders_of(order, steps, lower_order_final=lower)
    rows = []
    for j, (now, after) in enumerate(itertools.pairwise(points)):
        nodes = multistep.nodes(points, j, orders[j])
        rows.append(row_of(now.t, _step(interpolated, nodes, now, after, kind, tau)))
    name = f"{'SDE-' if tau > 0 else ''}DPM-Solver{'++' if interpolated is Form.X_0 else ''}({order}M, {kind})"
    return table_of(name, schedule, rows, to_zero_from=points[-1] if to_zero else None)


def _step(form: Form, nodes: tuple[float, ...], now: Point, after: Point, kind: str, tau: float) -> Increment:
    if exponential.is_singular(now, after):
        return exponential.increment(form, nodes, now, after, tau=tau)
    if kind == "midpoint" and len(nodes) == 2:
        (scale,) = exponential.interpolation_weights(form, nodes[:1], now, after, tau=tau)
        return multistep.half_slope(form, nodes[1], now, after, scale=scale, tau=tau)
    if kind == "published" and len(nodes) == 3:
        return _with_half_of_the_curvature(form, nodes, now, after)
    return exponential.increment(form, nodes, now, after, tau=tau)


def _with_half_of_the_curvature(form: Form, nodes: tuple[float, ...], now: Point, after: Point) -> Increment:
    """m ~ m_0 + D1 theta + D2 theta^2 over the step; the published coefficient of D2 is half of the integral's."""
    half = exponential.moment(form, 2, now, after) / 2
    exact = exponential.interpolation_weights(form, nodes, now, after)
    divided = [1 / ((x - y) * (x - z)) for x, y, z in (nodes, nodes[1:] + nodes[:1], nodes[2:] + nodes[:2])]
    return exponential.with_weights(form, tuple(w - half * d for w, d in zip(exact, divided, strict=True)), now, after)
