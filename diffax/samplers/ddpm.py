"""DDPM's ancestral sampling."""

import numpy as np
import numpy.typing as npt

from diffax.processes import gaussian
from diffax.samplers.table import SamplerTable, check_times, in_float64, make_table, with_zero
from diffax.typing import Schedule


def ddpm(schedule: Schedule, times: npt.ArrayLike, *, variance: str = "small", to_zero: bool = False) -> SamplerTable:
    """A draw of q(x_s | x_t, x_0) with the predicted x_0, on all steps or any subset of them.

    arXiv:2006.11239, algorithm 2 and section 3.2. "small" is the posterior's own variance, "large" that of
    q(x_t | x_s), DDPM's beta_t; neither adds noise to a step that ends at sigma = 0.

    Args:
      times: strictly decreasing; one row for each interval.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: times not strictly decreasing in [0, 1]; an unknown variance.
    """
    if variance not in ("small", "large"):
        raise ValueError(f"variance must be 'small' or 'large', got {variance!r}")
    schedule, times = in_float64(schedule), check_times(times, decreasing=True)
    t, s = times[:-1], times[1:]
    a, b, noise = gaussian.posterior_coefficients(schedule, s, t)
    if variance == "large":
        noise = np.where(schedule.sigma(s) == 0, 0.0, gaussian.transition_coefficients(schedule, s, t)[1])
    if to_zero:
        a, b, noise = with_zero(a), with_zero(b, end=1.0), with_zero(noise)
    name = f"DDPM({variance})"
    return make_table(name, schedule, times if to_zero else t, a=a, b=b, c=np.sqrt(noise))
