"""Multistep sampling of consistency models."""

import itertools

import numpy.typing as npt

from diffax.samplers import exponential
from diffax.samplers.rows import Row, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def consistency(schedule: Schedule, times: npt.ArrayLike, *, to_zero: bool = False) -> SamplerTable:
    """Predict x_0, add the next time's noise afresh, and again: x_s = alpha_s x_0 + sigma_s z (arXiv:2303.01469).

    For denoisers whose x_0 is a whole sample, not a mean: with the mean, samples lose variance.

    Args:
      times: strictly decreasing; one row for each interval.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: times not strictly decreasing.
    """
    schedule, points = exponential.points_of(schedule, times, to_zero=True)
    rows = [Row(now.t, b=(after.alpha,), c=after.sigma) for now, after in itertools.pairwise(points)]
    return table_of("Consistency", schedule, rows, to_zero_from=points[-1] if to_zero else None)
