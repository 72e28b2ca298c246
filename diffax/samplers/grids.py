"""Times for samplers: float64 vectors, decreasing from noise to data; the last is where sampling ends.

num_steps counts intervals, so a grid holds num_steps + 1 times and a one-evaluation-a-step sampler makes num_steps
calls.
"""

import numpy as np
from jaxtyping import Float

from diffax.samplers.table import in_float64, time_of
from diffax.typing import Schedule

Grid = Float[np.ndarray, " times"]
SPACINGS = ("leading", "trailing", "linspace", "quadratic")


def uniform(num_steps: int, *, start: float = 1.0, end: float = 0.0) -> Grid:
    """Evenly spaced in t from start down to end."""
    return np.linspace(start, end, _positive(num_steps) + 1)


def log_snr(schedule: Schedule, num_steps: int, *, start: float = 1.0, end: float = 1e-3) -> Grid:
    """Evenly spaced in log_snr, DPM-Solver's choice (arXiv:2206.00927, section 3.4); alpha(start), sigma(end) not 0."""
    ratios = _log_sigma(schedule, start), _log_sigma(schedule, end)
    return _from_log_sigma(schedule, np.linspace(*ratios, _positive(num_steps) + 1), start, end)


def karras(schedule: Schedule, num_steps: int, *, start: float = 1.0, end: float = 0.0, rho: float = 7.0) -> Grid:
    """Evenly spaced in (sigma / alpha)^(1 / rho) (EDM, arXiv:2206.00364, eq. 5); alpha(start) and sigma(end) not 0.

    EDM's N sigmas followed by 0 are num_steps = N - 1 and a sampler's to_zero.
    """
    high, low = np.exp(_log_sigma(schedule, start) / rho), np.exp(_log_sigma(schedule, end) / rho)
    return _from_log_sigma(schedule, rho * np.log(np.linspace(high, low, _positive(num_steps) + 1)), start, end)


def discrete(num_train_steps: int, num_steps: int, spacing: str = "trailing") -> Grid:
    """num_steps of the times (i + 1) / num_train_steps a discrete model was trained at, and then 0.

    leading: i = 0, k, 2k, ... with k = T // num_steps (DDIM, arXiv:2010.02502, appendix D); trailing: from T - 1 down
    in equal strides, the only one of the four to start at pure noise and end at equal strides (arXiv:2305.08891,
    table 2); linspace: from T - 1 to 0; quadratic: i about (c j)^2 up to 0.8 T, steps that would repeat moved up by one
    (DDIM, appendix D.2). All round half to even, as NumPy does.

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
            index[-1] = num_train_steps - 1  # also where there is but one
        case "quadratic":
            index = np.floor(np.linspace(0, np.sqrt(0.8 * num_train_steps), num_steps) ** 2)
            index = np.minimum(np.maximum.accumulate(index - count) + count, num_train_steps - num_steps + count)
        case _:
            raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, got {spacing!r}")
    return np.concatenate([(index[::-1] + 1) / num_train_steps, [0.0]])


def _log_sigma(schedule: Schedule, t: float) -> float:
    """log(sigma / alpha) at t."""
    schedule = in_float64(schedule)
    for name in ("alpha", "sigma"):
        if float(getattr(schedule, name)(np.float64(t))) == 0:
            raise ValueError(
                f"this grid needs a finite log-SNR, but {name}({t:g}) = 0 for {schedule}: choose another start or end"
            )
    return float(-schedule.log_snr(np.float64(t)) / 2)


def _from_log_sigma(schedule: Schedule, log_sigma: np.ndarray, start: float, end: float) -> Grid:
    times = time_of(in_float64(schedule), -2 * log_sigma)
    times[0], times[-1] = start, end  # exactly, not to rounding
    return times


def _positive(num_steps: int) -> int:
    if num_steps < 1:
        raise ValueError(f"num_steps must be >= 1, got {num_steps}")
    return num_steps
