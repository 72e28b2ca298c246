"""Discrete consistency training and distillation (arXiv:2303.01469), with the improvements of arXiv:2310.14189."""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from diffax import arrays, processes
from diffax.losses import _flow_map
from diffax.losses._loss import Noised, PerSample, Predict, Sample, at_times, noised, pair_of
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Numeric, Schedule

Solver = Literal["euler", "heun"]
# The noise levels sigma / alpha that are cut into intervals, where the schedule has them, and their exponent (EDM,
# arXiv:2206.00364, eq. 5).
_LOWEST, _HIGHEST, _RHO = 0.002, 80.0, 7.0


def consistency(
    keys: Keys,
    predict: Predict,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    x_0: Sample,
    *,
    weighting: Weighting,
    time_density: TimeDensity,
    eps: Sample | None = None,
    t: PerSample | None = None,
    teacher: Denoiser | None = None,
    progress: Numeric = 1.0,
    solver: Solver = "euler",
    first_intervals: int = 10,
    last_intervals: int = 1280,
    huber: float = 0.00054,
) -> PerSample:
    """The consistency loss of a network of one time, whose prediction is the flow map to s = 0.

    With F(x_t, t) = alpha_0 x_0 + sigma_0 eps of the prediction, noise levels r = sigma / alpha in intervals, t and m
    the upper and lower end of one, and x_m a step from x_t to m, the loss is d(F(x_t, t), F(x_m, m)) / (r_t - r_m),
    without a gradient of the second (and with the parameters themselves there, no average), where d is the pseudo-Huber
    distance sqrt(|a - b|^2 + c^2) - c, c = huber sqrt(dimensions). F(x, 0) = x by parameterization, so that the
    lowest interval, whose lower end is t = 0, has the data as its target. The levels are EDM's, 0.002 to 80, where the
    schedule has them; times of higher ones are not trained. The number of intervals doubles from
    first_intervals to last_intervals in equal parts of training. The interval of a sample is that in which a time of
    time_density lies: with log_normal_sigma the discretised lognormal distribution of arXiv:2310.14189, table 1.

    Args: as losses.denoising; and
      weighting: not used: a pseudo-Huber distance has no weight of squared errors.
      teacher: a denoiser whose step leads from x_t to x_m, consistency distillation; otherwise x_m has the data and
        noise of x_t, consistency training.
      progress: how much of the training is done, from 0 to 1.
      solver: of the teacher's step: euler (DDIM), or heun with two evaluations, which the paper distills by.

    Returns:
      (batch,), in units of x_0 by units of sigma / alpha.

    Raises:
      ValueError: an unknown solver, or not 1 <= first_intervals <= last_intervals.
    """
    if solver not in get_args(Solver):
        raise ValueError(f"loss.solver must be one of {', '.join(get_args(Solver))}, got {solver!r}")
    intervals = num_intervals(progress, first_intervals, last_intervals)
    at = noised(keys, schedule, x_0, time_density, eps=eps, t=t)
    between = interval_of(schedule, at.t, intervals)
    at = at_times(at, schedule, between.t)
    x_m = _step(schedule, at, between, teacher, solver)

    def to_data(x: Sample, time: PerSample) -> Sample:
        net_out = predict(x, time, key=at.network_keys).astype(x.dtype)
        return _flow_map.mapped(schedule, parameterization, net_out, x, time, jnp.zeros_like(time))

    error = to_data(at.x_t, at.t) - jax.lax.stop_gradient(to_data(x_m, between.m))
    dimensions = error[0].size
    c = huber * dimensions**0.5
    distance = jnp.sqrt(dimensions * arrays.mean_per_sample(error**2) + c**2) - c
    return distance / (between.ratio_t - between.ratio_m)


def num_intervals(progress: Numeric, first: int, last: int) -> jax.Array:
    """The number of intervals at a point of training: `first` doubled in equal parts of it (arXiv:2310.14189, table 1).

    Raises:
      ValueError: not 1 <= first <= last.
    """
    if not 1 <= first <= last:
        raise ValueError(f"consistency training needs 1 <= first_intervals <= last_intervals, got {first} and {last}")
    num_parts = (last // first).bit_length()  # floor(log2(last // first)) + 1
    part = jnp.floor(jnp.asarray(progress, jnp.result_type(float)) * num_parts)
    return jnp.minimum(first * 2.0**part, last)


class Interval(NamedTuple):
    """An interval of noise levels for each sample: its upper and lower end, as times and as sigma / alpha, (batch,)."""

    t: PerSample
    m: PerSample
    ratio_t: PerSample
    ratio_m: PerSample


def interval_of(schedule: Schedule, t: PerSample, intervals: jax.Array) -> Interval:
    """The interval in which t lies, of so many between the lowest and the highest sigma / alpha of a schedule."""

    def ratio(time: PerSample) -> PerSample:
        return schedule.sigma(time) / jnp.maximum(schedule.alpha(time), jnp.finfo(time.dtype).tiny)

    zero, intervals = jnp.zeros_like(t), intervals.astype(t.dtype)
    low, high = (jnp.clip(ratio(end), _LOWEST, _HIGHEST) ** (1 / _RHO) for end in (zero, jnp.ones_like(t)))
    place = (jnp.clip(ratio(t), low**_RHO, high**_RHO) ** (1 / _RHO) - low) / (high - low)
    index = jnp.clip(jnp.floor(place * intervals), 0, intervals - 1)
    lower, upper = ((low + (index + step) / intervals * (high - low)) ** _RHO for step in (0, 1))
    upper_time, lower_time = (jnp.clip(schedule.t_of_log_snr(-2 * jnp.log(end)), 0, 1) for end in (upper, lower))
    is_lowest = index == 0
    return Interval(upper_time, jnp.where(is_lowest, zero, lower_time), upper, jnp.where(is_lowest, ratio(zero), lower))


def _step(schedule: Schedule, at: Noised, between: Interval, teacher: Denoiser | None, solver: Solver) -> Sample:
    """x_m: with the data and noise of x_t, or by a teacher's step from x_t."""
    pair = pair_of(at, teacher)
    x_m = processes.diffuse(schedule, *pair, between.m)
    if teacher is None or solver == "euler":
        return x_m
    # Heun's method on x / alpha in sigma / alpha, where the slope is eps.
    eps_m = jax.lax.stop_gradient(teacher(x_m, between.m)).eps.astype(x_m.dtype)
    alpha_t, alpha_m = (arrays.expand_to(schedule.alpha(time), x_m) for time in (between.t, between.m))
    length = arrays.expand_to(between.ratio_m - between.ratio_t, x_m)
    return alpha_m * (at.x_t / alpha_t + length * (pair[1] + eps_m) / 2)
