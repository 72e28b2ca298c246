"""EDM's stochastic sampler: Heun's method in sigma with churn (arXiv:2206.00364)."""

import numpy as np
import numpy.typing as npt

from diffax.samplers import exponential, runge_kutta
from diffax.samplers.exponential import Interpolated, Point
from diffax.samplers.rows import Row, noised, table_of
from diffax.samplers.table import SamplerTable, t_of_log_snr
from diffax.typing import Schedule


def edm(
    schedule: Schedule,
    times: npt.ArrayLike,
    *,
    churn: float = 0.0,
    churn_range: tuple[float, float] = (0.0, np.inf),
    churn_steps: int | None = None,
    noise_scale: float = 1.0,
    second_order: bool = True,
) -> SamplerTable:
    """EDM's stochastic sampler (arXiv:2206.00364, algorithm 2), on any noise schedule through its sigma / alpha.

    Before each step, noise raises sigma / alpha by a factor 1 + gamma, gamma = min(churn / churn_steps, sqrt(2) - 1),
    but not beyond its value at t = 1. A step to sigma = 0 has no second evaluation. churn = 0 is `heun`. No noise is
    added before a last row that samplers.to_data appends: EDM's S_tmin is above its sigma_min.

    Args:
      times: strictly decreasing; two rows for each interval, one with second_order=False.
      churn: S_churn, the total amount of noise added.
      churn_range: (S_tmin, S_tmax), the range of sigma / alpha in which noise is added.
      churn_steps: N of S_churn / N; the number of intervals of `times` unless given. EDM counts the step to sigma = 0,
        so that N is one more where samplers.to_data follows.
      noise_scale: S_noise, the factor of the added noise.
      second_order: False for Euler steps.

    Raises:
      ValueError: a negative churn, a noise_scale that is not positive, churn_steps < 1, times not strictly decreasing
        in [0, 1]; churn before the first step where it would change alpha.
    """
    if not churn >= 0:
        raise ValueError(f"churn must be >= 0, got {churn}")
    if not noise_scale > 0:
        raise ValueError(f"noise_scale must be > 0, got {noise_scale}")
    if churn_steps is not None and churn_steps < 1:
        raise ValueError(f"churn_steps must be >= 1, got {churn_steps}")
    schedule, points = exponential.points_of(schedule, times, decreasing=True)
    steps = churn_steps or len(points) - 1
    low, high = churn_range
    highest = exponential.point(schedule, 1.0).lam

    def raised(now: Point) -> Point:
        gamma = min(churn / steps, np.sqrt(2) - 1) if 0 not in (now.alpha, now.sigma) else 0.0
        if gamma == 0 or not low <= now.sigma / now.alpha <= high:
            return now
        lam = max(now.lam - float(np.log1p(gamma)), highest)
        return exponential.point(schedule, float(t_of_log_snr(schedule, 2 * lam))) if lam < now.lam else now

    starts = [raised(at) for at in points]
    first = _initial_noise(points[0], starts[0])
    fraction = 1.0 if second_order else None
    rows: list[Row] = []
    for j, after in enumerate(points[1:], start=1):
        rows += runge_kutta.step_rows(schedule, "sigma", Interpolated.EPS, fraction, starts[j - 1], after)
        if starts[j] != after and j < len(points) - 1:
            rows[-1] = noised(rows[-1], after, starts[j], scale=noise_scale)
    return table_of(
        f"EDM(churn={churn:g})", schedule, rows, prior_std=points[0].sigma, initial_noise=noise_scale * first
    )


def _initial_noise(now: Point, up: Point) -> float:
    """The standard deviation of the noise added before the first step."""
    if not np.isclose(now.alpha, up.alpha, rtol=1e-12):
        raise ValueError(
            f"noise added before the first step, at t = {now.t:g}, would change alpha: "
            "start at t = 1, or outside churn_range"
        )
    return float(np.sqrt(max(up.sigma**2 - now.sigma**2, 0.0)))
