"""What methods with a memory share: which predictions are at hand, starts and ends, a predictor with its corrector."""

from collections.abc import Sequence

from diffax.samplers import exponential
from diffax.samplers.exponential import Form, Increment, Point
from diffax.samplers.rows import Row, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def orders_of(order: int, steps: int, *, lower_order_final: bool) -> list[int]:
    """1, 2, ... for the first steps, which have no more predictions; ..., 2, 1 for the last ones where asked for.

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
    """lambda of the newest point and of those before it, as many as asked for and finite."""
    chosen = points[max(0, newest + 1 - count) : newest + 1][::-1]
    return tuple(at.lam for k, at in enumerate(chosen) if k == 0 or 0 not in (at.alpha, at.sigma))


def is_noisy(tau: float) -> bool:
    """Whether a reverse SDE of that tau has noise; raises ValueError for a negative one."""
    if not tau >= 0:
        raise ValueError(f"tau must be >= 0, got {tau}")
    return tau > 0


def half_slope(form: Form, other: float, now: Point, after: Point, *, scale: float, tau: float = 0.0) -> Increment:
    """The step with the prediction m at `now` and half of the change over the step that the one at `other` tells of.

    keep x + W m + scale / 2 (m - m_other) h / (lambda_now - lambda_other), where W is the whole integral: the rule that
    DPM-Solver++(2M) and UniPC put in the place of the line's integral. `other` is older than `now`, or the step's end.
    """
    (whole,) = exponential.interpolation_weights(form, (now.lam,), now, after, tau=tau)
    slope = scale / 2 * (after.lam - now.lam) / (now.lam - other)
    weights = (-slope, whole + slope) if other == after.lam else (whole + slope, -slope)
    return exponential.with_weights(form, weights, now, after, tau=tau)


def corrected_table(
    name: str,
    schedule: Schedule,
    points: Sequence[Point],
    predictors: Sequence[Increment],
    correctors: Sequence[Increment | None],
    *,
    to_zero: bool,
) -> SamplerTable:
    """A predictor's steps, each done again once the prediction at its end is known: one evaluation a step.

    The anchor is what a step keeps of x, with its noise, and the query adds the predictor's weights to it. The next row
    adds the corrector's instead, whose newest prediction is its own; so both share their noise. A corrector that is
    None leaves its step as it was, and the last step has none.
    """
    rows = []
    for j, (now, predictor) in enumerate(zip(points, predictors, strict=False)):
        x_0, eps = _completed(predictors, correctors, j)
        kept = [tuple(predictor.keep * weight for weight in weights) for weights in (x_0, eps)]
        rows.append(
            Row(now.t, predictor.keep, b=kept[0], e=kept[1], c=predictor.noise, q=predictor.x_0, r=predictor.eps)
        )
    return table_of(name, schedule, rows, to_zero_from=points[-1] if to_zero else None)


def _completed(
    predictors: Sequence[Increment], correctors: Sequence[Increment | None], j: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What the row of points[j] adds to the anchor, so that it is x there."""
    if j == 0:
        return (), ()
    corrector = correctors[j - 1]
    if corrector is not None:
        return corrector.x_0, corrector.eps
    before = predictors[j - 1]
    return _after_none(before.x_0), _after_none(before.eps)


def _after_none(weights: tuple[float, ...]) -> tuple[float, ...]:
    """The weights one row later, with none for the newest prediction."""
    return (0.0, *weights) if weights else ()
