"""Singlestep DPM-Solver and DPM-Solver++ of order 1 to 3 (arXiv:2206.00927, 2211.01095)."""

import itertools

import numpy.typing as npt

from diffax.samplers import exponential, multistep, runge_kutta
from diffax.samplers.exponential import Interpolated, Point
from diffax.samplers.rows import Row, query_row, row_of, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def dpm_solver(schedule: Schedule, times: npt.ArrayLike, *, order: int = 2, predict: str = "eps") -> SamplerTable:
    """Singlestep DPM-Solver-1, -2, -3 in eps, DPM-Solver++(1S, 2S, 3S) in x_0; `order` evaluations per step.

    arXiv:2206.00927, algorithms 1 and 2. Order 1 is DDIM. Order 2 is the exponential midpoint rule. Order 3 has its
    stages at 1/3 and 2/3 of each step in log-SNR. A step that starts at alpha = 0 or ends at sigma = 0 is a DDIM step.

    Args:
      times: strictly monotone; `order` rows for each interval.
      predict: the prediction that is interpolated, "x_0" or "eps".

    Raises:
      ValueError: an order not in 1..3, an unknown predict, times not strictly monotone in [0, 1], a schedule without
        an inverse of its log-SNR.
    """
    multistep.check_order(order, (1, 2, 3))
    interpolated = exponential.interpolated_of(predict)
    schedule, points = exponential.points_of(schedule, times)
    rows: list[Row] = []
    for now, after in itertools.pairwise(points):
        if order == 2:
            rows += runge_kutta.step_rows(schedule, "log_snr", interpolated, 0.5, now, after)
        else:
            rows += singlestep_rows(schedule, interpolated, order, now, after)
    return table_of(f"DPM-Solver{order}S({predict})", schedule, rows)


def singlestep_rows(schedule: Schedule, interpolated: Interpolated, order: int, now: Point, after: Point) -> list[Row]:
    """One singlestep step of order 1, 2 or 3 with exact weights; stages at 1/2, or at 1/3 and 2/3, in log-SNR."""
    if order == 1 or exponential.is_singular(now, after):
        return [row_of(now.t, exponential.increment(interpolated, (now.lam,), now, after))]
    fractions = (1 / 2,) if order == 2 else (1 / 3, 2 / 3)
    stages = [now, *(exponential.between(schedule, now, after, fraction) for fraction in fractions)]
    rows: list[Row] = []
    for i, (stage, target) in enumerate(zip(stages, [*stages[1:], after], strict=True)):
        # Each stage interpolates its own prediction and the one at `now`, the only one in the history.
        step = exponential.increment(interpolated, (now.lam,) if i == 0 else (stage.lam, now.lam), now, target)
        rows.append((row_of if target is after else query_row)(stage.t, step, push=i == 0))
    return rows
