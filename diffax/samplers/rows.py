"""Tables written a row at a time, for samplers whose rows differ."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from diffax.samplers.exponential import Point
from diffax.samplers.table import SamplerTable, make_table
from diffax.typing import Schedule


class Row(NamedTuple):
    """One row of samplers.table, its entries under the same letters; b, e, q, r newest prediction first."""

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


def ddim_row(now: Point, after: Point) -> Row:
    """DDIM's step, which divides by nothing: for steps of order 1, and to or from pure noise or pure data."""
    return Row(now.t, b=(after.alpha,), e=(after.sigma,))


def table_of(name: str, schedule: Schedule, rows: Sequence[Row], *, to_zero_from: Point | None = None) -> SamplerTable:
    """The table with these rows, and one more from to_zero_from to pure data if it is given."""
    if to_zero_from is not None:
        rows = [*rows, Row(to_zero_from.t, b=(1.0,))]
    columns: dict[str, Any] = {
        key: np.array([getattr(row, key) for row in rows], float) for key in ("t", "a", "c", "p", "d")
    }
    for key in ("b", "e", "q", "r"):
        depth = max(max(len(getattr(row, key)) for row in rows), 1)
        columns[key] = np.array([[*getattr(row, key), *(0.0,) * (depth - len(getattr(row, key)))] for row in rows])
    times = columns.pop("t")
    return make_table(name, schedule, times, **columns, push=np.array([row.push for row in rows]))
