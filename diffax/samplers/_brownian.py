"""Brownian noise for SDE samplers: one path per sample, shared between runs with different numbers of steps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays
from diffax.samplers.table import check_times
from diffax.typing import Keys, Schedule

Sample = Float[jax.Array, "batch *dims"]
Noise = Callable[[Keys | None, jax.Array, Sample], Sample]
# The resolution of the path, relative to its length 1: finer than any step whose noise matters.
_TOLERANCE = 2.0**-20


def brownian(schedule: Schedule, times: npt.ArrayLike) -> Noise:
    """Brownian noise for samplers.run: the same keys give the same path of each sample at any number of steps.

    The noise of row j is the path's increment from times[j] to times[j + 1], scaled to standard normal. The path is a
    Brownian motion W in the signal-to-noise ratio alpha^2 / sigma^2. In its increments the noise of `ddpm`, of `ddim`
    with eta = 1 and of the SDE-DPM-Solvers (tau = 1) is exact, so their samples converge as the steps shrink.

    With s = snr / (1 + snr), W(snr) = (V(s) - s V(1)) / (1 - s) for a Brownian motion V on [0, 1]. V is a virtual
    Brownian tree (arXiv:2001.01328, section 4), which costs about 20 normal numbers per row and no memory.

    Args:
      times: the grid that the table was built on, one interval for each row. A row appended by samplers.to_data adds
        no noise and needs no interval.

    Raises:
      ValueError: times not strictly decreasing in [0, 1].
    """
    schedule, times = arrays.in_float64(schedule), check_times(times, decreasing=True)
    alpha, sigma = (np.asarray(value(times), np.float64) for value in (schedule.alpha, schedule.sigma))
    share = alpha**2 / (alpha**2 + sigma**2)
    # 1 - s is computed directly, to full precision where it is small. The last entry is repeated for a row to x_0.
    starts, rests = (np.append(values, values[-1]) for values in (share, sigma**2 / (alpha**2 + sigma**2)))

    def noise(keys: Keys | None, row: jax.Array, like: Sample) -> Sample:
        columns = [jnp.asarray(value, like.dtype) for value in (starts, rests)]
        here, there = ([column[row + step] for column in columns] for step in (0, 1))
        return jax.vmap(lambda key: _increment(key, like.shape[1:], here, there))(keys).astype(like.dtype)

    return noise


def _increment(key: jax.Array, shape: tuple[int, ...], here: list[jax.Array], there: list[jax.Array]) -> jax.Array:
    """The increment (W(there) - W(here)) / sqrt(snr(there) - snr(here)), standard normal."""
    import diffrax  # imported here because it is slow to import and only Brownian paths need it

    tree = diffrax.VirtualBrownianTree(0.0, 1.0, tol=_TOLERANCE, shape=shape, key=key)
    end = tree.evaluate(0.0, 1.0)

    def path(s: jax.Array, rest: jax.Array) -> jax.Array:
        # V(s) - s V(1), with 1 - s (rest) to full precision.
        return (tree.evaluate(0.0, s) - end + rest * end) / rest

    (s, s_rest), (u, u_rest) = here, there
    u_rest = jnp.maximum(u_rest, jnp.finfo(u_rest.dtype).eps)
    # snr = s / (1 - s) = 1 / rest - 1.
    step = jnp.maximum(s_rest - u_rest, jnp.finfo(u_rest.dtype).tiny) / (s_rest * u_rest)
    return (path(u, u_rest) - path(s, s_rest)) / jnp.sqrt(step)
