"""RePaint's resampling schedule for inpainting (arXiv:2201.09865)."""

import itertools

import numpy.typing as npt

from diffax.samplers import exponential
from diffax.samplers.exponential import Interpolated
from diffax.samplers.rows import Row, noised, row_of, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def repaint(schedule: Schedule, times: npt.ArrayLike, *, jump_length: int = 10, resamples: int = 10) -> SamplerTable:
    """RePaint: DDPM that noises the state back by jump_length steps and repeats them, `resamples` times in all.

    arXiv:2201.09865, algorithm 1 and section 4.2. For denoisers.inpainted: resampling harmonizes the unknown pixels
    with the known ones. The first jump_length steps, next to pure noise, are done once, as in the authors' schedule.

    Args:
      times: strictly decreasing. Stretches of jump_length steps are counted from the end, as in the paper.
      resamples: how often each stretch is sampled; 1 is DDPM.

    Raises:
      ValueError: jump_length or resamples < 1; times not strictly decreasing in [0, 1].
    """
    if jump_length < 1 or resamples < 1:
        raise ValueError(f"jump_length and resamples must be >= 1, got {jump_length} and {resamples}")
    schedule, points = exponential.points_of(schedule, times, decreasing=True)
    # The first-order method for the reverse SDE is DDPM's step.
    steps = [
        row_of(now.t, exponential.increment(Interpolated.X_0, (now.lam,), now, after, tau=1.0))
        for now, after in itertools.pairwise(points)
    ]
    rows: list[Row] = []
    for done, step in enumerate(steps, start=1):
        rows.append(step)
        jumps_back = (len(steps) - done) % jump_length == 0 and done > jump_length
        for _ in range(resamples - 1 if jumps_back else 0):
            rows[-1] = noised(rows[-1], points[done], points[done - jump_length])
            rows += steps[done - jump_length : done]
    return table_of("RePaint", schedule, rows)
