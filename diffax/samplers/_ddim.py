"""DDIM (arXiv:2010.02502), deterministic or stochastic, and Euler ancestral sampling."""

import numpy as np
import numpy.typing as npt

from diffax import arrays
from diffax.processes import gaussian
from diffax.samplers.table import SamplerTable, check_times, make_table
from diffax.typing import Schedule


def ddim(schedule: Schedule, times: npt.ArrayLike, *, eta: float = 0.0) -> SamplerTable:
    """DDIM: x_s = alpha_s x_0 + sqrt(sigma_s^2 - c^2) eps + c z, c = eta times the posterior's standard deviation.

    arXiv:2010.02502, eq. 12 and 16 (its alpha_t is our alpha_t squared), for any noise schedule. eta = 0 is
    deterministic; on schedules.Flow it is Euler's method for dx/dt = u. eta = 1 on consecutive steps is `ddpm` with
    the small variance. On increasing times DDIM inverts: it maps data to noise. No step divides by alpha or sigma.

    Args:
      times: strictly monotone; one row for each interval.
      eta: from 0 (the ODE) to 1 (ancestral sampling). Larger values add more noise.

    Raises:
      ValueError: times not strictly monotone in [0, 1]; eta negative, too large, or not 0 on increasing times.
    """
    if not eta >= 0:
        raise ValueError(f"eta must be >= 0, got {eta}")
    schedule, times = arrays.in_float64(schedule), check_times(times, decreasing=True if eta > 0 else None)
    alpha, sigma = schedule.alpha(times[1:]), schedule.sigma(times[1:])
    noise = np.zeros_like(sigma)
    if eta > 0:
        noise = eta * np.sqrt(gaussian.posterior_coefficients(schedule, times[1:], times[:-1])[2])
    # At eta = 1 rounding errors alone may make the noise larger than sigma.
    if np.any(noise > sigma * (1 + 1e-9)):
        row = int(np.flatnonzero(noise > sigma * (1 + 1e-9))[0])
        raise ValueError(f"eta = {eta:g} asks for more noise than sigma at row {row} (t = {times[row]:g}): lower it")
    kept = np.sqrt(np.maximum(sigma**2 - noise**2, 0))
    name = "DDIM" if eta == 0 else f"DDIM(eta={eta:g})"
    return make_table(name, schedule, times[:-1], b=alpha, e=kept, c=noise)


def euler_ancestral(schedule: Schedule, times: npt.ArrayLike) -> SamplerTable:
    """Euler ancestral sampling, the name in k-diffusion of DDIM with eta = 1 (arXiv:2010.02502, eq. 12 and 16).

    Args:
      times: strictly decreasing; one row for each interval.

    Raises:
      ValueError: times not strictly decreasing in [0, 1].
    """
    return ddim(schedule, times, eta=1.0)
