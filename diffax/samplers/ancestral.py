"""Ancestral sampling with the variance that a network has learned: no table, as its noise depends on the state."""

import jax
import jax.numpy as jnp
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays
from diffax.processes import gaussian
from diffax.samplers.loop import check_keys
from diffax.samplers.table import check_times, in_float64
from diffax.typing import Denoiser, Keys, Schedule

Sample = Float[jax.Array, "batch *dims"]


def ancestral(keys: Keys, denoiser: Denoiser, schedule: Schedule, x: Sample, times: npt.ArrayLike) -> Sample:
    """DDPM's steps with the learned variance small^(1 - v) large^v, v = prediction.variance (arXiv:2102.09672, eq. 15).

    small is the variance of q(x_s | x_t, x_0) and large that of q(x_t | x_s); v is a number for every pixel, 0 to 1 if
    it stays between the two. v = 0 and 1 are `ddpm` with its two variances. A step to sigma = 0 adds no noise. Sample
    i depends on x[i] and keys[i] alone.

    Args:
      keys: one per sample, (batch,).
      x: (batch, *dims) at times[0].
      times: strictly decreasing, any subset of the steps that the network was trained for.

    Raises:
      ValueError: a denoiser without a variance; times not strictly decreasing; keys not one per sample.
    """
    times, exact = check_times(times, decreasing=True), in_float64(schedule)
    check_keys(keys, x)
    a, b, small = gaussian.posterior_coefficients(exact, times[1:], times[:-1])
    _, large = gaussian.transition_coefficients(exact, times[1:], times[:-1])
    columns = tuple(jnp.asarray(column, x.dtype) for column in (times[:-1], a, b, small, large))

    def step(x: Sample, row: tuple[tuple[jax.Array, ...], jax.Array]) -> tuple[Sample, None]:
        (t, a, b, small, large), index = row
        x_0, _, v = denoiser(x, t)
        if v is None:
            raise ValueError(
                "ancestral needs a denoiser whose prediction has a variance; without one, use ddpm's table"
            )
        variance = jnp.where(small > 0, small * (large / jnp.where(small > 0, small, 1)) ** v, 0)
        noise = arrays.normal_like(jax.vmap(lambda key: jax.random.fold_in(key, index))(keys), x)
        return a * x + b * x_0 + jnp.sqrt(variance) * noise, None

    return jax.lax.scan(step, x, (columns, jnp.arange(len(times) - 1)))[0]
