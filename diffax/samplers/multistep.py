"""Shared parts of multistep samplers: orders of the first and last steps, interpolation nodes, predictor-corrector."""

from collections.abc import Sequence

from diffax.samplers import exponential
from diffax.samplers.exponential import Increment, Interpolated, Point
from diffax.samplers.rows import Row, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def orders_of(order: int, steps: int, *, lower_order_final: bool) -> list[int]:
    """The order of each step: 1, 2, ... for the first steps, which have few predictions to use.

    Args:
      lower_order_final: also lowers the order of the last steps: ..., 2, 1.

    Raises:
      ValueError: fewer steps than the order.
    """
    if steps < order:
        raise ValueError(f"order {order} needs at least {order} steps, got {steps}")
    return [min(order, j + 1, steps - j if lower_order_final else order) for j in range(steps)]


def check_order(order: int, allowed: Sequence[int]) -> None:
    """Raises ValueError for an order that is not allowed."""
    if order not in allowed:
        *most, last = allowed
        raise ValueError(f"order must be {', '.join(map(str, most))} or {last}, got {order}")


def nodes(points: Sequence[Point], newest: int, count: int) -> tuple[float, ...]:
    """The interpolation nodes: lambda of the newest point and of up to count - 1 points before it, where finite."""
    chosen = points[max(0, newest + 1 - count) : newest + 1][::-1]
    return tuple(at.lam for k, at in enumerate(chosen) if k == 0 or 0 not in (at.alpha, at.sigma))


def is_noisy(tau: float) -> bool:
    """Whether the reverse SDE with this tau has noise.

    Raises:
      ValueError: a negative tau.
    """
    if not tau >= 0:
        raise ValueError(f"tau must be >= 0, got {tau}")
    return tau > 0


def half_slope(
    interpolated: Interpolated, other: float, now: Point, after: Point, *, scale: float, tau: float = 0.0
) -> Increment:
    """One second-order step of DPM-Solver++(2M) or UniPC, whose linear term is simplified to half of the slope.

    With the prediction m at `now` and m_other at lambda = other, the step is

      keep x + W m + scale / 2 (m - m_other) h / (lambda_now - lambda_other),

    where W is the integral of the kernel. The exact integral of the interpolating line has another factor than
    scale / 2. `other` is older than `now`, or the end of the step.
    """
    (whole,) = exponential.interpolation_weights(interpolated, (now.lam,), now, after, tau=tau)
    slope = scale / 2 * (after.lam - now.lam) / (now.lam - other)
    weights = (-slope, whole + slope) if other == after.lam else (whole + slope, -slope)
    return exponential.with_weights(interpolated, weights, now, after, tau=tau)


def corrected_table(
    name: str,
    schedule: Schedule,
    points: Sequence[Point],
    predictors: Sequence[Increment],
    correctors: Sequence[Increment | None],
) -> SamplerTable:
    """The table of a predictor-corrector method with one function evaluation per step.

    The predictor makes the query at the end of its step. The prediction made there is the newest of the corrector,
    which the next row adds to the anchor. So the anchor holds what the step keeps of x, with its noise, and the query
    adds the predictor's weights to it; predictor and corrector share their noise. A corrector that is None leaves the
    step as the predictor made it. The last step has no corrector.
    """
    rows = []
    for j, (now, predictor) in enumerate(zip(points, predictors, strict=False)):
        x_0, eps = _completed(predictors, correctors, j)
        kept = [tuple(predictor.keep * weight for weight in weights) for weights in (x_0, eps)]
        rows.append(
            Row(now.t, predictor.keep, b=kept[0], e=kept[1], c=predictor.noise, q=predictor.x_0, r=predictor.eps)
        )
    return table_of(name, schedule, rows)


def _completed(
    predictors: Sequence[Increment], correctors: Sequence[Increment | None], j: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The weights that the row of points[j] adds to the anchor to complete the step before it."""
    if j == 0:
        return (), ()
    corrector = correctors[j - 1]
    if corrector is not None:
        return corrector.x_0, corrector.eps
    before = predictors[j - 1]
    return _one_row_later(before.x_0), _one_row_later(before.eps)


def _one_row_later(weights: tuple[float, ...]) -> tuple[float, ...]:
    """The same weights one row later, where a newer prediction exists and has weight 0."""
    return (0.0, *weights) if weights else ()
