"""DDPM's ancestral sampling (arXiv:2006.11239) with a fixed variance."""

import numpy as np
import numpy.typing as npt

from diffax import arrays
from diffax.processes import gaussian
from diffax.samplers.table import SamplerTable, check_times, make_table
from diffax.typing import Schedule


def ddpm(schedule: Schedule, times: npt.ArrayLike, *, variance: str = "small") -> SamplerTable:
    """Ancestral sampling of DDPM: draws x_s from q(x_s | x_t, x_0) with the predicted x_0.

    arXiv:2006.11239, algorithm 2 and section 3.2, on all steps of the schedule or on any subset of them.

    Args:
      times: strictly decreasing; one row for each interval.
      variance: "small", that of q(x_s | x_t, x_0), or "large", that of q(x_t | x_s), which is DDPM's beta_t. Neither
        adds noise in a step to sigma = 0. `ancestral` has a learned variance between the two.

    Raises:
      ValueError: times not strictly decreasing in [0, 1]; an unknown variance.
    """
    if variance not in ("small", "large"):
        raise ValueError(f"variance must be 'small' or 'large', got {variance!r}")
    schedule, times = arrays.in_float64(schedule), check_times(times, decreasing=True)
    t, s = times[:-1], times[1:]
    a, b, noise = gaussian.posterior_coefficients(schedule, s, t)
    if variance == "large":
        noise = np.where(schedule.sigma(s) == 0, 0.0, gaussian.transition_coefficients(schedule, s, t)[1])
    return make_table(f"DDPM({variance})", schedule, t, a=a, b=b, c=np.sqrt(noise))
