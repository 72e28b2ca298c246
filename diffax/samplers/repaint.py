"""RePaint: DDPM that keeps going back to more noise, so that what is unknown comes to fit what is known."""

import itertools

import numpy.typing as npt

from diffax.samplers import exponential
from diffax.samplers.exponential import Form
from diffax.samplers.rows import Row, noised, row_of, table_of
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def repaint(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    jump_length: int = 10,
    resamples: int = 10,
    to_zero: bool = False,
) -> SamplerTable:
    """Steps of DDPM, every jump_length of them done `resamples` times (arXiv:2201.09865, algorithm 1, section 4.2).

    After each stretch the state is noised back to where the stretch began; the first, next to pure noise, is done
    once, as in the authors' schedule. For denoisers.inpainted.

    Args:
      times: strictly decreasing. The stretches are counted from the end, as the paper's.
      resamples: 1 is DDPM itself.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: jump_length or resamples < 1; times not strictly decreasing.
    """
    if jump_length < 1 or resamples < 1:
        raise ValueError(f"jump_length and resamples must be >= 1, got {jump_length} and {resamples}")
    schedule, points = exponential.points_of(schedule, times, to_zero=True)
    # The reverse SDE's first order is DDPM's step.
    steps = [
        row_of(now.t, exponential.increment(Form.X_0, (now.lam,), now, after, tau=1.0))
        for now, after in itertools.pairwise(points)
    ]
    rows: list[Row] = []
    for done, step in enumerate(steps, start=1):
        rows.append(step)
        jumps_back = (len(steps) - done) % jump_length == 0 and done > jump_length
        for _ in range(resamples - 1 if jumps_back else 0):
            rows[-1] = noised(rows[-1], points[done], points[done - jump_length])
            rows += steps[done - jump_length : done]
    return table_of("RePaint", schedule, rows, to_zero_from=points[-1] if to_zero else None)
