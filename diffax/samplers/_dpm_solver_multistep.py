"""Multistep DPM-Solver++ (2M, 3M) and SDE-DPM-Solver++ (arXiv:2211.01095)."""

import itertools
from typing import Literal, get_args

import numpy.typing as npt

from diffax.samplers import exponential, multistep
from diffax.samplers.exponential import Increment, Interpolated, Point
from diffax.samplers.rows import row_of, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule

Weights = Literal["midpoint", "exact", "published"]
# With fewer steps than this, lower_order_final is on by default, as in diffusers.
FEW_STEPS = 15


def dpm_solver_multistep(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    order: int = 2,
    weights: str | None = None,
    predict: str = "x_0",
    tau: float = 0.0,
    lower_order_final: bool | None = None,
) -> SamplerTable:
    """Multistep DPM-Solver++(2M) and (3M) (arXiv:2211.01095, algorithm 2); with tau = 1, SDE-DPM-Solver++(2M).

    One evaluation per step. The first steps have orders 1, 2, ..., which limits the global order of 3M to 2; see
    adams(start="singlestep") for a method of full order 3.

    Args:
      times: strictly monotone, and decreasing if tau > 0; one row for each interval.
      order: 1 (DDIM), 2 or 3.
      weights: of the slope. For order 2: "midpoint" (default) or "exact", which other libraries call "heun". For
        order 3: "exact" (default) or "published", which has half of the curvature term that order 3 needs and is of
        order 2. The published 3M of the SDE also has the wrong sign in this term, diverges with many steps, and is
        not available.
      predict: the prediction that is interpolated: "x_0", or "eps" for multistep DPM-Solver-2 and -3 (algorithm_type
        "dpmsolver" of diffusers).
      tau: the noise level of the reverse SDE relative to the process itself; 0 is the ODE.
      lower_order_final: lowers the order of the last steps to ..., 2, 1; by default for fewer than 15 steps.

    Raises:
      ValueError: an order not in 1..3, fewer steps than the order, weights that this order does not have, an unknown
        predict, a negative tau, "published" with tau > 0, times not strictly monotone in [0, 1].
    """
    multistep.check_order(order, (1, 2, 3))
    kind = weights or ("exact" if order == 3 else "midpoint")
    if kind not in get_args(Weights) or (kind, order) in (("midpoint", 3), ("published", 2)):
        raise ValueError(
            f"weights must be 'midpoint' or 'exact' for order 2, 'exact' or 'published' for order 3, got {kind!r}"
        )
    if kind == "published" and tau > 0:
        raise ValueError("the published SDE of order 3 diverges: use weights='exact'")
    interpolated = exponential.interpolated_of(predict)
    schedule, points = exponential.points_of(schedule, times, decreasing=True if multistep.is_noisy(tau) else None)
    steps = len(points) - 1
    lower = steps < FEW_STEPS if lower_order_final is None else lower_order_final
    orders = multistep.orders_of(order, steps, lower_order_final=lower)
    rows = []
    for j, (now, after) in enumerate(itertools.pairwise(points)):
        nodes = multistep.nodes(points, j, orders[j])
        rows.append(row_of(now.t, _step(interpolated, nodes, now, after, kind, tau)))
    name = f"{'SDE-' if tau > 0 else ''}DPM-Solver{'++' if interpolated is Interpolated.X_0 else ''}({order}M, {kind})"
    return table_of(name, schedule, rows)


def _step(
    interpolated: Interpolated, nodes: tuple[float, ...], now: Point, after: Point, kind: str, tau: float
) -> Increment:
    if exponential.is_singular(now, after):
        return exponential.increment(interpolated, nodes, now, after, tau=tau)
    if kind == "midpoint" and len(nodes) == 2:
        (scale,) = exponential.interpolation_weights(interpolated, nodes[:1], now, after, tau=tau)
        return multistep.half_slope(interpolated, nodes[1], now, after, scale=scale, tau=tau)
    if kind == "published" and len(nodes) == 3:
        return _with_half_of_the_curvature(interpolated, nodes, now, after)
    return exponential.increment(interpolated, nodes, now, after, tau=tau)


def _with_half_of_the_curvature(
    interpolated: Interpolated, nodes: tuple[float, ...], now: Point, after: Point
) -> Increment:
    """The published 3M step: m ~ m_0 + D1 theta + D2 theta^2, with half of the exact coefficient of D2."""
    half = exponential.moment(interpolated, 2, now, after) / 2
    exact = exponential.interpolation_weights(interpolated, nodes, now, after)
    divided = [1 / ((x - y) * (x - z)) for x, y, z in (nodes, nodes[1:] + nodes[:1], nodes[2:] + nodes[:2])]
    weights = tuple(w - half * d for w, d in zip(exact, divided, strict=True))
    return exponential.with_weights(interpolated, weights, now, after)
