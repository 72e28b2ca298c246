"""Restart sampling: repeated forward jumps to more noise, each followed by a backward ODE solve (arXiv:2306.14878)."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential, grids, runge_kutta
from diffax.samplers.exponential import Interpolated, Point
from diffax.samplers.rows import Row, noised, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


class Restart(NamedTuple):
    """One restart interval: `times` jumps from t = low up to t = high, each followed by num_steps steps back down."""

    low: float
    high: float
    num_steps: int
    times: int = 1


def restart(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    restarts: Sequence[tuple[float, float, int, int]] = (),
    second_order: bool = True,
) -> SamplerTable:
    """Restart sampling (arXiv:2306.14878, algorithm 1): Heun's method in sigma / alpha that repeats parts of its way.

    At the end of a restart interval the state is noised from t = low to t = high and solved down to low again. Without
    restarts this is `heun`.

    Args:
      times: strictly decreasing; they must contain the `low` of every restart.
      restarts: Restart or plain tuples (low, high, num_steps, times). Their steps are uniform in (sigma / alpha)^(1/7),
        as in EDM.
      second_order: False for Euler steps.

    Raises:
      ValueError: a restart whose low is not one of the times or not below its high; num_steps or times < 1; times not
        strictly decreasing in [0, 1].
    """
    schedule, points = exponential.points_of(schedule, times, decreasing=True)
    pending = {_index(points, part): part for part in (Restart(*options) for options in restarts)}
    fraction = 1.0 if second_order else None
    rows: list[Row] = []
    for j, (now, after) in enumerate(itertools.pairwise(points), start=1):
        rows += runge_kutta.step_rows(schedule, "sigma", Interpolated.EPS, fraction, now, after)
        if j not in pending:
            continue
        low, high, num_steps, repeats = pending[j]
        back = [exponential.point(schedule, t) for t in grids.karras(schedule, num_steps, start=high, end=low)]
        for _ in range(repeats):
            rows[-1] = noised(rows[-1], after, back[0])
            for start, end in itertools.pairwise(back):
                rows += runge_kutta.step_rows(schedule, "sigma", Interpolated.EPS, fraction, start, end)
    return table_of("Restart", schedule, rows)


def _index(points: Sequence[Point], part: Restart) -> int:
    """The index of the point at the restart's low."""
    low, high, num_steps, repeats = part
    if not (0 < low < high <= 1) or num_steps < 1 or repeats < 1:
        raise ValueError(f"a restart needs 0 < low < high <= 1, num_steps >= 1 and times >= 1, got {part}")
    near = [j for j, at in enumerate(points) if np.isclose(at.t, low, rtol=1e-9)]
    if not near or near[0] == 0:
        raise ValueError(f"a restart's low = {low:g} must be one of the times after the first")
    return near[0]
