"""EDM's sampler: Heun's method in sigma, with a little noise put back before every step."""

import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential, runge_kutta
from diffax.samplers.exponential import Form, Point
from diffax.samplers.rows import Row, noised, table_of
from diffax.samplers.table import SamplerTable, time_of
from diffax.typing import Schedule


def edm(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    churn: float = 0.0,
    churn_range: tuple[float, float] = (0.0, np.inf),
    noise_scale: float = 1.0,
    second_order: bool = True,
    to_zero: bool = False,
) -> SamplerTable:
    """EDM's stochastic sampler (arXiv:2206.00364, algorithm 2), on any schedule through its sigma / alpha.

    Before each step, sigma / alpha is raised by a factor 1 + gamma, gamma = min(churn / steps, sqrt(2) - 1), by adding
    noise; it is not raised beyond its value at t = 1. Heun's second evaluation is left out of a step to sigma = 0.
    churn = 0 is heun.

    Args:
      times: strictly decreasing; two rows for each interval, one with second_order=False.
      churn: S_churn, the noise put back in all of sampling.
      churn_range: (S_tmin, S_tmax), where sigma / alpha has to lie for noise to be put back.
      noise_scale: S_noise, the factor of the noise put back.
      to_zero: a last row from times[-1] to pure data, for schedules that end at sigma_min.

    Raises:
      ValueError: a negative churn, a noise_scale that is not positive, times not strictly decreasing; churn of
        the first step where alpha would change with it.
    """
    if not churn >= 0:
        raise ValueError(f"churn must be >= 0, got {churn}")
    if not noise_scale > 0:
        raise ValueError(f"noise_scale must be > 0, got {noise_scale}")
    schedule, points = exponential.points_of(schedule, times, to_zero=True)
    steps = len(points) - 1 + to_zero
    low, high = churn_range
    highest = exponential.point(schedule, 1.0).lam

    def raised(now: Point) -> Point:
        gamma = min(churn / steps, np.sqrt(2) - 1) if 0 not in (now.alpha, now.sigma) else 0.0
        if gamma == 0 or not low <= now.sigma / now.alpha <= high:
            return now
        lam = max(now.lam - float(np.log1p(gamma)), highest)
        return exponential.point(schedule, float(time_of(schedule, 2 * lam))) if lam < now.lam else now

    starts = [raised(at) for at in points]
    first = _initial_noise(points[0], starts[0])
    fraction = 1.0 if second_order else None
    rows: list[Row] = []
    for j, after in enumerate(points[1:], start=1):
        rows += runge_kutta.step_rows(schedule, "sigma", Form.EPS, fraction, starts[j - 1], after)
        if starts[j] != after and (j < len(points) - 1 or to_zero):
            rows[-1] = noised(rows[-1], after, starts[j], scale=noise_scale)
    return table_of(
        f"EDM(churn={churn:g})",
        schedule,
        rows,
        to_zero_from=starts[-1] if to_zero else None,
        prior_std=points[0].sigma,
        initial_noise=noise_scale * first,
    )


def _initial_noise(now: Point, up: Point) -> float:
    if not np.isclose(now.alpha, up.alpha, rtol=1e-12):
        raise ValueError(
            f"noise put back before the first step, at t = {now.t:g}, would change alpha: "
            "start at t = 1, or outside churn_range"
        )
    return float(np.sqrt(max(up.sigma**2 - now.sigma**2, 0.0)))
