"""Restart sampling: jumps back to more noise, each solved again."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential, grids, runge_kutta
from diffax.samplers.exponential import Form
from diffax.samplers.rows import Row, noised, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


class Restart(NamedTuple):
    """`times` jumps from t = low up to t = high, each followed by num_steps steps back down."""

    low: float
    high: float
    num_steps: int
    times: int = 1


def restart(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    restarts: Sequence[Restart],
    second_order: bool = True,
    to_zero: bool = False,
) -> SamplerTable:
    """Heun's method in sigma / alpha that, on its way, goes back and repeats parts (arXiv:2306.14878, algorithm 1).

    Args:
      times: strictly decreasing, with every restart's `low` among them.
      restarts: the parts to repeat; their steps are uniform in (sigma / alpha)^(1/7), as EDM's.
      second_order: False for Euler's steps.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: a restart whose low is not one of the times, or is not below its high; times not strictly decreasing.
    """
    schedule, points = exponential.points_of(schedule, times, to_zero=True)
    pending = {_index(points, restart): restart for restart in restarts}
    fraction = 1.0 if second_order else None
    rows: list[Row] = []
    for j, (now, after) in enumerate(itertools.pairwise(points), start=1):
        rows += runge_kutta.step_rows(schedule, "sigma", Form.EPS, fraction, now, after)
        if j not in pending:
            continue
        low, high, num_steps, repeats = pending[j]
        back = [exponential.point(schedule, t) for t in grids.karras(schedule, num_steps, start=high, end=low)]
        for _ in range(repeats):
            rows[-1] = noised(rows[-1], after, back[0])
            for start, end in itertools.pairwise(back):
                rows += runge_kutta.step_rows(schedule, "sigma", Form.EPS, fraction, start, end)
    return table_of("Restart", schedule, rows, to_zero_from=points[-1] if to_zero else None)


def _index(points: Sequence[exponential.Point], restart: Restart) -> int:
    low, high, num_steps, repeats = restart
    if not (0 < low < high <= 1) or num_steps < 1 or repeats < 1:
        raise ValueError(f"a restart needs 0 < low < high <= 1, num_steps >= 1 and times >= 1, got {restart}")
    near = [j for j, at in enumerate(points) if np.isclose(at.t, low, rtol=1e-9)]
    if not near or near[0] == 0:
        raise ValueError(f"a restart's low = {low:g} must be one of the times after the first")
    return near[0]
