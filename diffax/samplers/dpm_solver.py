"""DPM-Solver in its singlestep form: every step starts afresh, with one evaluation per order."""

import itertools

import numpy.typing as npt

from diffax.samplers import exponential, multistep, runge_kutta
from diffax.samplers.exponential import Form, Point
from diffax.samplers.rows import Row, query_row, row_of, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def dpm_solver(
    schedule: Schedule, times: npt.ArrayLike, *, order: int = 2, form: str = "eps", to_zero: bool = False
) -> SamplerTable:
    """DPM-Solver-1, -2 or -3 in eps (arXiv:2206.00927, algorithms 1 and 2), DPM-Solver++(1S, 2S, 3S) in x_0.

    Order 1 is DDIM, order 2 the exponential midpoint rule, order 3 has its stages at 1/3 and 2/3 of each step in
    log_snr. A step that starts at alpha = 0 or ends at sigma = 0 is DDIM's.

    Args:
      times: strictly monotone; `order` rows for each interval.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: an order not in 1..3, an unknown form, times as for ddim.
    """
    multistep.check_order(order, (1, 2, 3))
    interpolated = exponential.form_of(form)
    schedule, points = exponential.points_of(schedule, times, to_zero=to_zero)
    rows: list[Row] = []
    for now, after in itertools.pairwise(points):
        if order == 2:
            rows += runge_kutta.step_rows(schedule, "log_snr", interpolated, 0.5, now, after)
        else:
            rows += singlestep_rows(schedule, interpolated, order, now, after)
    return table_of(f"DPM-Solver{order}S({form})", schedule, rows, to_zero_from=points[-1] if to_zero else None)


def singlestep_rows(schedule: Schedule, form: Form, order: int, now: Point, after: Point) -> list[Row]:
    """One step of order 1, 2 or 3 with exact weights: stages at 1/2, or at 1/3 and 2/3 of the way."""
    if order == 1 or exponential.is_singular(now, after):
        return [row_of(now.t, exponential.increment(form, (now.lam,), now, after))]
    fractions = (1 / 2,) if order == 2 else (1 / 3, 2 / 3)
    stages = [now, *(exponential.between(schedule, now, after, fraction) for fraction in fractions)]
    rows: list[Row] = []
    for i, (stage, target) in enumerate(zip(stages, [*stages[1:], after], strict=True)):
        # The newest stage, and the prediction at `now`, which alone is in the history.
        step = exponential.increment(form, (now.lam,) if i == 0 else (stage.lam, now.lam), now, target)
        rows.append((row_of if target is after else query_row)(stage.t, step, push=i == 0))
    return rows
