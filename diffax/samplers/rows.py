"""Sampler tables built row by row, for samplers whose rows differ (singlestep methods, churn, restarts)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from diffax.samplers.exponential import Increment, Point
from diffax.samplers.table import SamplerTable, make_table
from diffax.typing import Schedule


class Row(NamedTuple):
    """One row of a SamplerTable, its entries under the same letters; b, e, q, r with the newest prediction first."""

    t: float
    a: float = 0.0
    b: tuple[float, ...] = ()
    e: tuple[float, ...] = ()
    c: float = 0.0
    p: float = 1.0
    q: tuple[float, ...] = ()
    r: tuple[float, ...] = ()
    d: float = 0.0
    push: bool = True


def row_of(t: float, step: Increment, *, push: bool = True) -> Row:
    """The row that evaluates at t and moves the state by one step."""
    return Row(t, step.keep, b=step.x_0, e=step.eps, c=step.noise, push=push)


def query_row(t: float, step: Increment, *, push: bool = True) -> Row:
    """The row that evaluates at t and only moves the query, to the end of the step; the anchor stays in place."""
    return Row(t, 1.0, p=step.keep, q=step.x_0, r=step.eps, d=step.noise, push=push)


def noised(row: Row, now: Point, up: Point, *, scale: float = 1.0) -> Row:
    """The row, which ends at `now`, followed by a forward step: a draw of q(x_up | x_now) at a noisier point `up`.

    The row must keep query = anchor.

    Args:
      scale: the factor of the standard deviation of the added noise.
    """
    factor = up.alpha / now.alpha
    added = scale**2 * (up.sigma**2 - (factor * now.sigma) ** 2)
    return row._replace(
        a=factor * row.a,
        b=tuple(factor * weight for weight in row.b),
        e=tuple(factor * weight for weight in row.e),
        c=float(np.sqrt((factor * row.c) ** 2 + added)),
    )


def table_of(name: str, schedule: Schedule, rows: Sequence[Row], **options: float) -> SamplerTable:
    """The SamplerTable with these rows; options are initial_noise and prior_std of make_table."""
    columns: dict[str, Any] = {
        key: np.array([getattr(row, key) for row in rows], float) for key in ("t", "a", "c", "p", "d")
    }
    for key in ("b", "e", "q", "r"):
        depth = max(max(len(getattr(row, key)) for row in rows), 1)
        columns[key] = np.array([[*getattr(row, key), *(0.0,) * (depth - len(getattr(row, key)))] for row in rows])
    times = columns.pop("t")
    return make_table(name, schedule, times, **columns, push=np.array([row.push for row in rows]), **options)
