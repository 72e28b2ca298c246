"""Straightness of a probability flow: how far its velocity is from that of straight lines (arXiv:2209.03003)."""

import jax
import jax.numpy as jnp
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays
from diffax.samplers.table import check_times
from diffax.typing import Denoiser, Schedule


def straightness(
    denoiser: Denoiser,
    schedule: Schedule,
    times: npt.ArrayLike,
    states: Float[jax.Array, "times batch *dims"],
) -> Float[jax.Array, " batch"]:
    """The straightness S of each trajectory, the integral over t of |(Z_1 - Z_0) - v(Z_t, t)|^2 dt; 0 is straight.

    Rectified flow (arXiv:2209.03003), section 2.2; its S(Z) is the mean over trajectories. One Euler step is exact on a
    straight trajectory. Computed by the trapezoidal rule, with one evaluation per state.

    A trajectory of any noise schedule is measured in the coordinates of schedules.Flow, where Z = x / (alpha + sigma),
    its time is sigma / (alpha + sigma) and its velocity eps - x_0. S therefore does not depend on the schedule that a
    model is sampled with. Only how states are spaced in time does, and with it the error of the trapezoidal rule.

    Args:
      times: strictly monotone, those of the states: the grid that a table was built on.
      states: (times, batch, *dims): the initial state and those that samplers.run saves with save_every = 1, by a table
        of one row per interval such as `euler`.

    Returns:
      (batch,), the squared norm over all dimensions.

    Raises:
      ValueError: times not strictly monotone in [0, 1], or not one per state.
    """
    times = check_times(times)
    if len(times) != len(states):
        raise ValueError(f"expected one time per state, got {len(times)} times and {len(states)} states")
    states = arrays.at_least_float32(states)
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    scale, flow_time = alpha + sigma, sigma / (alpha + sigma)
    first, last = (states[end] / jnp.asarray(scale[end], states.dtype) for end in (0, -1))
    chord = (first - last) / jnp.asarray(flow_time[0] - flow_time[-1], states.dtype)

    def squared_error(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        t, state = row
        x_0, eps = (half.astype(state.dtype) for half in denoiser(state, t)[:2])
        return arrays.sum_per_sample((eps - x_0 - chord) ** 2)

    errors = jax.lax.map(squared_error, (jnp.asarray(times, states.dtype), states))
    total = jnp.trapezoid(errors, jnp.asarray(flow_time, states.dtype)[:, None], axis=0)
    return total if times[-1] > times[0] else -total
