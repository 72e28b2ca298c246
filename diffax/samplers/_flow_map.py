"""Sampling by a flow map: composition over a time grid, with noise put back between its steps."""

import itertools

import numpy as np
import numpy.typing as npt

from diffax import arrays
from diffax.samplers.table import SamplerTable, check_times, make_table
from diffax.typing import Schedule


def flow_map(schedule: Schedule, times: npt.ArrayLike, *, gamma: float = 0.0) -> SamplerTable:
    """Composition of a flow map over a time grid: x_s = flow_map(x_t, t, s) from each time to the next.

    The table has `targets`, so that `run` asks the denoiser for (x_t, t, target): it needs a TwoTimeDenoiser. With
    gamma > 0 each step goes beyond s, to the time u with sigma_u / alpha_u = sqrt(1 - gamma^2) sigma_s / alpha_s, and
    fresh noise brings it back to s (CTM, arXiv:2310.02279, section 3.5): gamma = 1 goes to data each time and is the
    multistep sampling of consistency models (arXiv:2303.01469, algorithm 1). The last step goes to data.

    Args:
      times: strictly decreasing; one row for each interval.
      gamma: from 0, no noise, to 1.

    Raises:
      ValueError: times not strictly decreasing in [0, 1], gamma outside [0, 1].
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma must be in [0, 1], got {gamma}")
    schedule, times = arrays.in_float64(schedule), check_times(times, decreasing=True)
    rows = [_row(schedule, s, gamma) for _, s in itertools.pairwise(times)]
    # Noise-free data also where sigma_0 > 0.
    rows[-1] = (float(times[-1]), 1.0, 0.0, 0.0)
    targets, b, e, c = (np.array(column) for column in zip(*rows, strict=True))
    return make_table(f"flow map(gamma={gamma:g})", schedule, times[:-1], b=b, e=e, c=c, targets=targets)


def _row(schedule: Schedule, s: float, gamma: float) -> tuple[float, float, float, float]:
    """(target, weight of x_0, weight of eps, standard deviation of the noise) of a step to s."""
    alpha, sigma = float(schedule.alpha(s)), float(schedule.sigma(s))
    if gamma == 0:
        return float(s), alpha, sigma, 0.0
    target, kept = 0.0, np.sqrt(1 - gamma**2)
    if gamma < 1:
        log_snr = float(schedule.log_snr(np.float64(s))) - 2 * np.log(kept)
        target = float(np.clip(schedule.t_of_log_snr(np.float64(log_snr)), 0, s))
    return target, alpha, kept * sigma, gamma * sigma
