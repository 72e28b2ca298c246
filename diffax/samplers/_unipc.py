"""UniPC: a predictor-corrector exponential integrator with one function evaluation per step (arXiv:2302.04867)."""

import itertools
from typing import Literal, get_args

import numpy.typing as npt

from diffax.samplers import exponential, multistep
from diffax.samplers.exponential import Increment, Interpolated, Point
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule

Variant = Literal["bh1", "bh2"]


def unipc(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    order: int = 3,
    variant: str = "bh2",
    predict: str = "x_0",
    lower_order_final: bool = True,
) -> SamplerTable:
    """UniPC: the predictor UniP-p and the corrector UniC-p of order p = 1, 2 or 3, one evaluation per step.

    arXiv:2302.04867, algorithms 1 and 2. B(h) = h (bh1) or exp(h) - 1 (bh2) matters only where the paper sets a
    coefficient to 1/2, in UniP-2 and UniC-1. Elsewhere the solution of the paper's linear system is the exact weights
    of exponential Adams-Bashforth and Adams-Moulton, whatever B. The first steps have orders 1, 2, .... The last step
    is not corrected.

    Args:
      times: strictly monotone; one row for each interval.
      predict: the prediction that is interpolated, "x_0" or "eps".
      lower_order_final: lowers the order of the last steps to ..., 2, 1, the paper's choice.

    Raises:
      ValueError: an order not in 1..3, fewer steps than the order, an unknown variant or predict, times not strictly
        monotone in [0, 1].
    """
    multistep.check_order(order, (1, 2, 3))
    if variant not in get_args(Variant):
        raise ValueError(f"variant must be 'bh1' or 'bh2', got {variant!r}")
    interpolated = exponential.interpolated_of(predict)
    schedule, points = exponential.points_of(schedule, times)
    orders = multistep.orders_of(order, len(points) - 1, lower_order_final=lower_order_final)
    predictors, correctors = [], []
    for j, (now, after) in enumerate(itertools.pairwise(points)):
        nodes = multistep.nodes(points, j, orders[j])
        predictors.append(_predictor(interpolated, nodes, now, after, variant))
        correctors.append(_corrector(interpolated, nodes, now, after, variant))
    return multistep.corrected_table(f"UniPC{order}({predict}, {variant})", schedule, points, predictors, correctors)


def _predictor(
    interpolated: Interpolated, nodes: tuple[float, ...], now: Point, after: Point, variant: str
) -> Increment:
    if len(nodes) != 2 or exponential.is_singular(now, after):
        return exponential.increment(interpolated, nodes, now, after)
    return multistep.half_slope(interpolated, nodes[1], now, after, scale=_scale(interpolated, now, after, variant))


def _corrector(
    interpolated: Interpolated, nodes: tuple[float, ...], now: Point, after: Point, variant: str
) -> Increment | None:
    if exponential.is_singular(now, after):
        return None
    if len(nodes) > 1:
        return exponential.increment(interpolated, (after.lam, *nodes), now, after)
    return multistep.half_slope(interpolated, after.lam, now, after, scale=_scale(interpolated, now, after, variant))


def _scale(interpolated: Interpolated, now: Point, after: Point, variant: str) -> float:
    """B(h) times the factor in front of the integral."""
    if variant == "bh2":
        return exponential.interpolation_weights(interpolated, (now.lam,), now, after)[0]
    h = after.lam - now.lam
    return after.alpha * h if interpolated is Interpolated.X_0 else -after.sigma * h
