"""DDIM: the sampler without a division, deterministic or as noisy as DDPM, in either direction of time."""

import numpy as np
import numpy.typing as npt

from diffax.processes import gaussian
from diffax.samplers.table import SamplerTable, check_times, in_float64, make_table, with_zero
from diffax.typing import Schedule


def ddim(schedule: Schedule, times: npt.ArrayLike, *, eta: float = 0.0, to_zero: bool = False) -> SamplerTable:
    """x_s = alpha_s x_0 + sqrt(sigma_s^2 - c^2) eps + c z, c = eta times the posterior's standard deviation.

    arXiv:2010.02502, eq. 12 and 16 (its alpha_t is our alpha_t squared), for any schedule. eta = 0 is deterministic,
    and on schedules.Flow is Euler's method for dx/dt = u; eta = 1 on consecutive steps is `ddpm` with small variance.
    On increasing times it inverts: data to noise.

    Args:
      times: strictly monotone; one row for each interval.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: times not strictly monotone in [0, 1]; eta negative, too large, or not 0 on increasing times.
    """
    if not eta >= 0:
        raise ValueError(f"eta must be >= 0, got {eta}")
    schedule, times = in_float64(schedule), check_times(times, decreasing=True if eta > 0 or to_zero else None)
    alpha, sigma = schedule.alpha(times[1:]), schedule.sigma(times[1:])
    noise = np.zeros_like(sigma)
    if eta > 0:
        noise = eta * np.sqrt(gaussian.posterior_coefficients(schedule, times[1:], times[:-1])[2])
    # At eta = 1 rounding alone may carry noise above sigma.
    if np.any(noise > sigma * (1 + 1e-9)):
        row = int(np.flatnonzero(noise > sigma * (1 + 1e-9))[0])
        raise ValueError(f"eta = {eta:g} asks for more noise than sigma at row {row} (t = {times[row]:g}): lower it")
    kept = np.sqrt(np.maximum(sigma**2 - noise**2, 0))
    if to_zero:
        alpha, kept, noise = with_zero(alpha, end=1.0), with_zero(kept), with_zero(noise)
    name = "DDIM" if eta == 0 else f"DDIM(eta={eta:g})"
    return make_table(name, schedule, times if to_zero else times[:-1], b=alpha, e=kept, c=noise)
