"""The Euler-Maruyama method for the reverse SDE (arXiv:2011.13456)."""

import itertools

import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential
from diffax.samplers.rows import Row, table_of
from diffax.samplers.runge_kutta import derivatives
from diffax.samplers.table import SamplerTable
from diffax.typing import Schedule


def euler_maruyama(schedule: Schedule, times: npt.ArrayLike) -> SamplerTable:
    """The Euler-Maruyama method for the reverse SDE: x_s = x_t + (s - t) (f x_t + g^2 eps / sigma_t) + g sqrt(t - s) z.

    arXiv:2011.13456, eq. 6, with f = alpha' / alpha and g^2 = 2 sigma (sigma' - f sigma). The derivatives are in t, so
    the error depends on the time parameterization of the schedule; `ddpm`, which integrates both terms exactly, is
    better at every step count. A step from alpha = 0 draws x_s from q(x_s | x_0) with the predicted x_0. A step to
    sigma = 0 adds no noise.

    Args:
      times: strictly decreasing; one row for each interval.

    Raises:
      ValueError: times not strictly decreasing in [0, 1].
    """
    schedule, points = exponential.points_of(schedule, times, decreasing=True)
    rows: list[Row] = []
    for now, after in itertools.pairwise(points):
        if now.alpha == 0:
            rows.append(Row(now.t, b=(after.alpha,), c=after.sigma))
            continue
        h = after.t - now.t
        alpha_slope, sigma_slope = derivatives(schedule, now.t)
        drift = alpha_slope / now.alpha
        growth = 2 * now.sigma * (sigma_slope - drift * now.sigma)
        noise = np.sqrt(max(-h * growth, 0.0)) if after.sigma > 0 else 0.0
        rows.append(Row(now.t, 1 + h * drift, e=(h * growth / now.sigma,), c=float(noise)))
    return table_of("Euler-Maruyama", schedule, rows)
