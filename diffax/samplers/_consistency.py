"""Multistep consistency sampling (arXiv:2303.01469)."""

import itertools

import numpy.typing as npt

from diffax.samplers import exponential
from diffax.samplers.rows import Row, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def consistency(schedule: Schedule, times: npt.ArrayLike) -> SamplerTable:
    """Multistep consistency sampling: predicts x_0 and adds fresh noise, x_s = alpha_s x_0 + sigma_s z.

    Consistency models (arXiv:2303.01469, algorithm 1). The denoiser has to be a consistency model, whose x_0 is a
    sample of the data. With an ordinary denoiser, whose x_0 is the posterior mean, samples lose variance. A step to
    t = 0 gives x_0 itself, without noise also where sigma_0 > 0.

    Args:
      times: strictly decreasing; one row for each interval.

    Raises:
      ValueError: times not strictly decreasing in [0, 1].
    """
    schedule, points = exponential.points_of(schedule, times, decreasing=True)
    rows = [
        Row(now.t, b=(after.alpha,), c=after.sigma) if after.t > 0 else Row(now.t, b=(1.0,))
        for now, after in itertools.pairwise(points)
    ]
    return table_of("Consistency", schedule, rows)
