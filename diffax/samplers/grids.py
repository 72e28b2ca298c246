"""Time grids for samplers: float64 vectors that decrease from noise to data. Sampling ends at the last time.

num_steps counts intervals: a grid has num_steps + 1 times, and a sampler with one evaluation per step has num_steps
evaluations.
"""

import numpy as np
from jaxtyping import Float

from diffax import arrays
from diffax.samplers.table import t_of_log_snr
from diffax.typing import Schedule

Grid = Float[np.ndarray, " times"]
SPACINGS = ("leading", "trailing", "linspace", "quadratic")


def uniform(num_steps: int, *, start: float = 1.0, end: float = 0.0) -> Grid:
    """A grid evenly spaced in t, from start down to end.

    Raises:
      ValueError: num_steps < 1.
    """
    return np.linspace(start, end, _positive(num_steps) + 1)


def log_snr(schedule: Schedule, num_steps: int, *, start: float = 1.0, end: float = 1e-3) -> Grid:
    """A grid evenly spaced in log-SNR, the choice of DPM-Solver (arXiv:2206.00927, section 3.4).

    Raises:
      ValueError: num_steps < 1; alpha or sigma 0 at start or end, where the log-SNR is infinite.
    """
    ratios = _log_sigma(schedule, start), _log_sigma(schedule, end)
    return _from_log_sigma(schedule, np.linspace(*ratios, _positive(num_steps) + 1), start, end)


def karras(schedule: Schedule, num_steps: int, *, start: float = 1.0, end: float = 0.0, rho: float = 7.0) -> Grid:
    """EDM's grid, evenly spaced in (sigma / alpha)^(1 / rho) (arXiv:2206.00364, eq. 5).

    EDM's N sigmas followed by 0 are num_steps = N - 1 and samplers.to_data.

    Raises:
      ValueError: num_steps < 1; alpha or sigma 0 at start or end, where the log-SNR is infinite.
    """
    high, low = np.exp(_log_sigma(schedule, start) / rho), np.exp(_log_sigma(schedule, end) / rho)
    return _from_log_sigma(schedule, rho * np.log(np.linspace(high, low, _positive(num_steps) + 1)), start, end)


def discrete(num_train_steps: int, num_steps: int, *, spacing: str = "trailing") -> Grid:
    """A grid of num_steps of the training times (i + 1) / T of a discrete model, T = num_train_steps, followed by 0.

    Args:
      spacing: which steps i are used.
        "leading": i = 0, k, 2k, ... with k = T // num_steps (DDIM, arXiv:2010.02502, appendix D).
        "trailing": from T - 1 down in equal strides (arXiv:2305.08891, table 2). Of the four, only this one both
        starts at pure noise and has equal strides to the end.
        "linspace": evenly spaced from T - 1 to 0.
        "quadratic": i about (c j)^2 up to 0.8 T; steps that would repeat move up by one (DDIM, appendix D.2).
        All round half to even, as NumPy does.

    Raises:
      ValueError: num_steps < 1 or > num_train_steps, an unknown spacing.
    """
    if _positive(num_steps) > num_train_steps:
        raise ValueError(f"num_steps must be at most the {num_train_steps} steps of the schedule, got {num_steps}")
    count = np.arange(num_steps)
    match spacing:
        case "leading":
            index = count * (num_train_steps // num_steps)
        case "trailing":
            index = np.sort(np.round(num_train_steps - count * num_train_steps / num_steps) - 1)
        case "linspace":
            index = np.round(np.linspace(0, num_train_steps - 1, num_steps))
            index[-1] = num_train_steps - 1  # also for a single step
        case "quadratic":
            index = np.floor(np.linspace(0, np.sqrt(0.8 * num_train_steps), num_steps) ** 2)
            index = np.minimum(np.maximum.accumulate(index - count) + count, num_train_steps - num_steps + count)
        case _:
            raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    return np.concatenate([(index[::-1] + 1) / num_train_steps, [0.0]])


def _log_sigma(schedule: Schedule, t: float) -> float:
    """log(sigma / alpha) at t, in float64."""
    schedule = arrays.in_float64(schedule)
    for name in ("alpha", "sigma"):
        if float(getattr(schedule, name)(np.float64(t))) == 0:
            raise ValueError(
                f"this grid needs a finite log-SNR, but {name}({t:g}) = 0 for {schedule}: choose another start or end"
            )
    return float(-schedule.log_snr(np.float64(t)) / 2)


def _from_log_sigma(schedule: Schedule, log_sigma: np.ndarray, start: float, end: float) -> Grid:
    times = t_of_log_snr(arrays.in_float64(schedule), -2 * log_sigma)
    times[0], times[-1] = start, end  # exact, without rounding error
    return times


def _positive(num_steps: int) -> int:
    if num_steps < 1:
        raise ValueError(f"num_steps must be >= 1, got {num_steps}")
    return num_steps
