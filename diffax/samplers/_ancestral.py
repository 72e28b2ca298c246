"""Ancestral sampling with a learned variance (improved DDPM, arXiv:2102.09672)."""

import numpy as np
import numpy.typing as npt

from diffax import arrays
from diffax.processes import gaussian
from diffax.samplers.table import SamplerTable, check_times, make_table
from diffax.typing import Schedule


def ancestral(schedule: Schedule, times: npt.ArrayLike) -> SamplerTable:
    """DDPM's ancestral sampling with the variance that the network has learned (arXiv:2102.09672, eq. 15).

    The variance of a step is small^(1 - v) large^v, with v the prediction's log_variance_fraction, a number per pixel.
    small is the variance of q(x_s | x_t, x_0) and large that of q(x_t | x_s); v = 0 and v = 1 give `ddpm` with its two
    variances. A step to sigma = 0 adds no noise. samplers.run raises ValueError if the denoiser has no
    log_variance_fraction.

    Args:
      times: strictly decreasing, any subset of the steps that the network was trained on; one row for each interval.

    Raises:
      ValueError: times not strictly decreasing in [0, 1].
    """
    schedule, times = arrays.in_float64(schedule), check_times(times, decreasing=True)
    t, s = times[:-1], times[1:]
    a, b, small = gaussian.posterior_coefficients(schedule, s, t)
    _, large = gaussian.transition_coefficients(schedule, s, t)
    return make_table("ancestral", schedule, t, a=a, b=b, c=np.sqrt(small), c_large=np.sqrt(large))
