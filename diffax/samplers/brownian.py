"""Noise from one Brownian path per sample, so that the same keys follow the same path with 50 steps and with 500."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from diffax.samplers.table import check_times, in_float64
from diffax.typing import Keys, Schedule

Sample = Float[jax.Array, "batch *dims"]
Noise = Callable[[Keys | None, jax.Array, Sample], Sample]
# Of the path's whole length, which is 1: finer than any step whose noise can be seen.
_TOLERANCE = 2.0**-20


def brownian(schedule: Schedule, times: npt.ArrayLike) -> Noise:
    """Noise for samplers.run: that of row j is the path's increment from times[j] to times[j + 1], in units of its own.

    The path is a Brownian motion W in alpha^2 / sigma^2, in whose increments the noise of `ddpm`, of `ddim` with
    eta = 1 and of the SDE-DPM-Solvers (tau = 1) is exact: as steps shrink, their samples converge. With
    s = snr / (1 + snr), W(snr) = (V(s) - s V(1)) / (1 - s) for a Brownian motion V on [0, 1], held as a virtual
    Brownian tree (arXiv:2001.01328, section 4), which costs about 20 normal numbers a row and no memory.

    Args:
      times: the grid the table was made of, one interval for each noisy row. With to_zero the last row has none.

    Raises:
      ValueError: times not strictly decreasing.
    """
    schedule, times = in_float64(schedule), check_times(times, decreasing=True)
    alpha, sigma = (np.asarray(value(times), np.float64) for value in (schedule.alpha, schedule.sigma))
    share = alpha**2 / (alpha**2 + sigma**2)
    # 1 - s is wanted to full precision where it is small; a last row down to sigma = 0 has no noise.
    starts, rests = (np.append(values, values[-1]) for values in (share, sigma**2 / (alpha**2 + sigma**2)))

    def noise(keys: Keys | None, row: jax.Array, like: Sample) -> Sample:
        columns = [jnp.asarray(value, like.dtype) for value in (starts, rests)]
        here, there = ([column[row + step] for column in columns] for step in (0, 1))
        return jax.vmap(lambda key: _increment(key, like.shape[1:], here, there))(keys).astype(like.dtype)

    return noise


def _increment(key: jax.Array, shape: tuple[int, ...], here: list[jax.Array], there: list[jax.Array]) -> jax.Array:
    """(W(there) - W(here)) / sqrt(snr(there) - snr(here)), standard normal."""
    import diffrax  # takes as long to import as all the rest, and only those who want a path need it

    tree = diffrax.VirtualBrownianTree(0.0, 1.0, tol=_TOLERANCE, shape=shape, key=key)
    end = tree.evaluate(0.0, 1.0)

    def path(s: jax.Array, rest: jax.Array) -> jax.Array:
        # V(s) - s V(1) with 1 - s given to full precision.
        return (tree.evaluate(0.0, s) - end + rest * end) / rest

    (s, s_rest), (u, u_rest) = here, there
    u_rest = jnp.maximum(u_rest, jnp.finfo(u_rest.dtype).eps)
    # snr = s / (1 - s) = 1 / rest - 1.
    step = jnp.maximum(s_rest - u_rest, jnp.finfo(u_rest.dtype).tiny) / (s_rest * u_rest)
    return (path(u, u_rest) - path(s, s_rest)) / jnp.sqrt(step)
