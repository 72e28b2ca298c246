"""UniPC: a predictor and a corrector of exponential integrators that share every evaluation."""

import itertools
from typing import Literal, get_args

import numpy.typing as npt

from diffax.samplers import exponential, multistep
from diffax.samplers.exponential import Form, Increment, Point
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule

Variant = Literal["bh1", "bh2"]


def unipc(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    order: int = 3,
    variant: str = "bh2",
    form: str = "x_0",
    lower_order_final: bool = True,
    to_zero: bool = False,
) -> SamplerTable:
    """UniP-p and UniC-p of order p = 1, 2 or 3 (arXiv:2302.04867, algorithms 1 and 2), one evaluation a step.

    B(h) = h (bh1) or exp(h) - 1 (bh2) matters only where the paper takes 1/2 for a coefficient, in UniP-2 and UniC-1:
    elsewhere the paper's linear system has the exact weights of exponential Adams-Bashforth and Adams-Moulton for its
    solution, whatever B. Starts with orders 1, 2, .... The step that the last evaluation completes is not corrected.

    Args:
      times: strictly monotone; one row for each interval.
      form: "x_0" or "eps", the prediction that is interpolated.
      lower_order_final: orders ..., 2, 1 for the last steps, the paper's choice.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: an order not in 1..3, fewer steps than the order, an unknown variant or form, times as for ddim.
    """
    multistep.check_order(order, (1, 2, 3))
    if variant not in get_args(Variant):
        raise ValueError(f"variant must be 'bh1' or 'bh2', got {variant!r}")
    interpolated = exponential.form_of(form)
    schedule, points = exponential.points_of(schedule, times, to_zero=to_zero)
    orders = multistep.orders_of(order, len(points) - 1, lower_order_final=lower_order_final)
    predictors, correctors = [], []
    for j, (now, after) in enumerate(itertools.pairwise(points)):
        nodes = multistep.nodes(points, j, orders[j])
        predictors.append(_predictor(interpolated, nodes, now, after, variant))
        correctors.append(_corrector(interpolated, nodes, now, after, variant))
    name = f"UniPC{order}({form}, {variant})"
    return multistep.corrected_table(name, schedule, points, predictors, correctors, to_zero=to_zero)


def _predictor(form: Form, nodes: tuple[float, ...], now: Point, after: Point, variant: str) -> Increment:
    if len(nodes) != 2 or exponential.is_singular(now, after):
        return exponential.increment(form, nodes, now, after)
    return multistep.half_slope(form, nodes[1], now, after, scale=_scale(form, now, after, variant))


def _corrector(form: Form, nodes: tuple[float, ...], now: Point, after: Point, variant: str) -> Increment | None:
    if exponential.is_singular(now, after):
        return None
    if len(nodes) > 1:
        return exponential.increment(form, (after.lam, *nodes), now, after)
    return multistep.half_slope(form, after.lam, now, after, scale=_scale(form, now, after, variant))


def _scale(form: Form, now: Point, after: Point, variant: str) -> float:
    """B(h), with the factor in front of the integral."""
    if variant == "bh2":
        return exponential.interpolation_weights(form, (now.lam,), now, after)[0]
    h = after.lam - now.lam
    return after.alpha * h if form is Form.X_0 else -after.sigma * h
