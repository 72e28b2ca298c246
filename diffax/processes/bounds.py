"""Terms of variational bounds, for each number of a sample: KL divergences between Gaussians, and decoders."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffax.typing import Numeric

Sample = Float[jax.Array, "batch *dims"]


def kl_divergence(mean_1: Numeric, log_variance_1: Numeric, mean_2: Numeric, log_variance_2: Numeric) -> jax.Array:
    """The KL divergence KL(N(mean_1, variance_1) || N(mean_2, variance_2)) in nats, for each number by itself.

    (expm1(d) - d + (mean_1 - mean_2)^2 / variance_2) / 2 with d = log variance_1 - log variance_2. The arguments
    broadcast.
    """
    difference = log_variance_1 - log_variance_2
    square = (mean_1 - mean_2) ** 2 * jnp.exp(-log_variance_2)
    return (jnp.expm1(difference) - difference + square) / 2


def gaussian_log_density(x: Sample, mean: Numeric, log_variance: Numeric) -> Sample:
    """The log density of N(mean, variance) at x in nats, for each number by itself."""
    return -(jnp.log(2 * jnp.pi).astype(x.dtype) + log_variance + (x - mean) ** 2 * jnp.exp(-log_variance)) / 2


def discretized_log_likelihood(x_0: Sample, mean: Numeric, log_variance: Numeric, num_levels: int) -> Sample:
    """The log probability in nats of each pixel under a discretised Gaussian (DDPM, arXiv:2006.11239, eq. 13).

    The levels are -1, -1 + 2h, ..., 1 with h = 1 / (num_levels - 1). The probability of a level is the integral of
    N(mean, variance) from h below it to h above it; the bins of the lowest and of the highest level are open. So the
    probabilities of all levels sum to 1. The difference of two normal cumulative distribution functions Phi is computed
    from their logs, on the side of the mean where they are small, so that it keeps its relative precision in the tails.
    Published code replaces Phi by a function of tanh, which is off by up to 5.7e-4 bits per dimension.

    Args:
      x_0: samples whose numbers are levels.
      num_levels: of a pixel: 256 for bytes, 17 for the digits.

    Raises:
      ValueError: fewer than two levels.
    """
    if num_levels < 2:
        raise ValueError(f"a discretised decoder needs at least two levels, got {num_levels}")
    half = 1 / (num_levels - 1)
    precision = jnp.exp(-jnp.asarray(log_variance, x_0.dtype) / 2)
    upper, lower = (x_0 + half - mean) * precision, (x_0 - half - mean) * precision
    is_lowest, is_highest = x_0 < half - 1, x_0 > 1 - half
    # log(Phi(upper) - Phi(lower)) = log(Phi(-lower) - Phi(-upper)): the smaller one of the two pairs.
    mirrored = jnp.where(is_lowest | is_highest, is_highest, upper + lower > 0)
    high, low = jnp.where(mirrored, -lower, upper), jnp.where(mirrored, -upper, lower)
    log_high = jax.scipy.special.log_ndtr(high)
    # Not quite 0, where rounding makes the two equal: the gradient is then 0 and not NaN.
    ratio = jnp.minimum(jax.scipy.special.log_ndtr(low) - log_high, -jnp.finfo(x_0.dtype).tiny)
    is_open = is_lowest | is_highest
    return log_high + jnp.where(is_open, 0, jnp.log(-jnp.expm1(jnp.where(is_open, -1, ratio))))


def check_levels(x_0: Sample, num_levels: int) -> None:
    """Checks that the numbers of x_0 are levels of [-1, 1], where they are known before the program runs.

    Raises:
      ValueError: naming a number that is not one of num_levels levels.
    """
    if isinstance(x_0, jax.core.Tracer):
        return
    index = (np.asarray(x_0, np.float64) + 1) * (num_levels - 1) / 2
    wrong = (np.abs(index - np.round(index)) > 1e-2) | (index < -0.5) | (index > num_levels - 0.5)
    if wrong.any():
        raise ValueError(
            f"a discretised decoder needs data of {num_levels} levels from -1 to 1, got {np.asarray(x_0)[wrong][0]:g}: "
            "for points and dequantised data leave num_levels out, for a Gaussian density"
        )
