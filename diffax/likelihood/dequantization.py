"""Dequantization: bounds on the log-probability of discrete data by a continuous density.

Levels are centres of bins of one width, which fill an interval. A density q_t at a time t gives a bin the probability
P(x) of all states in it, and for noise u of a density r(u | x) on the bin

    log P(x) >= E_r[log q_t(x + u) - log r(u | x)].

Every function here is (keys, schedule, x, bins, *, options) -> Dequantized: the noisy state, the time at which its
log-density is to be taken, and the correction -log r in nats. Without noise a density may be arbitrarily high at the
levels, and bits/dim negative: that is no likelihood of discrete data (arXiv:1511.01844, section 3.1).
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, schedules
from diffax.typing import Array, Keys, Numeric, Schedule

Sample = Float[jax.Array, "batch *dims"]
# The first time at which a density of data without noise is taken (arXiv:2011.13456, appendix C).
FIRST_TIME = 1e-5
_NORMAL_ENTROPY = math.log(2 * math.pi * math.e) / 2


@dataclasses.dataclass(frozen=True)
class Bins:
    """The bins of discrete data: `num_levels` of one width, the middle of all at 0.

    width: in the network's units; 2 / (num_levels - 1) where the levels fill [-1, 1], as x / 127.5 - 1 of bytes, and
      2 / num_levels where the bins do, as after data.augment.dequantized.
    """

    num_levels: int
    width: float

    @classmethod
    def of_levels(cls, num_levels: int) -> "Bins":
        """Bins whose centres fill [-1, 1]: 6.9944 bits each for 256 levels, 3 for the digits' 17."""
        return cls(num_levels, 2 / (num_levels - 1))

    @classmethod
    def filling(cls, num_levels: int) -> "Bins":
        """Bins that fill [-1, 1]: 7 bits each for 256 levels."""
        return cls(num_levels, 2 / num_levels)

    def centres(self, levels: Array) -> Array:
        """The centres of the bins of levels 0 .. num_levels - 1, in float32."""
        return (levels.astype("float32") - (self.num_levels - 1) / 2) * self.width


class Dequantized(NamedTuple):
    """States with noise: E[log q_t(x) + correction] is at most the log-probability of the data, in nats.

    x: states at the time t.
    t: one time for all.
    correction: -log r, of every sample; with truncated noise its mean.
    """

    x: Sample
    t: Float[jax.Array, ""]
    correction: Float[jax.Array, " batch"]


def first_time(schedule: Schedule) -> Numeric:
    """The time of data without noise: 0 where sigma(0) > 0, the first step of a discrete schedule, 1e-5 of others."""
    if isinstance(schedule, schedules.Discrete):
        return 1 / schedule.num_steps
    return jnp.where(schedule.sigma(0.0) > 0, 0.0, FIRST_TIME)


def uniform(keys: Keys, schedule: Schedule, x: Sample, bins: Bins) -> Dequantized:
    """Uniform noise over the bin, at the first time: the correction is D log(width).

    arXiv:1511.01844, section 3.1; arXiv:2011.13456, appendix D.2. For models of uniformly dequantized data. A model of
    the levels themselves has sharp peaks there, and the bound is far below its log-probability: `truncated_normal`.
    """
    noise = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:], x.dtype, -0.5, 0.5))(keys)
    correction = jnp.full(len(x), x[0].size * math.log(bins.width), x.dtype)
    return Dequantized(x + bins.width * noise, jnp.asarray(first_time(schedule), x.dtype), correction)


def truncated_normal(keys: Keys, schedule: Schedule, x: Sample, bins: Bins, *, tau: float = 3.0) -> Dequantized:
    """The noise of the process itself, within the bin: alpha x + sigma eps with |eps| <= alpha width / (2 sigma).

    arXiv:2305.03935. States are as in training, but for the share erfc(tau / sqrt(2)) of their noise. Taken
    at the time where the largest |eps| is tau, or at the first time if that is later. The correction is the entropy of
    the noise, log(sigma Z sqrt(2 pi e)) - tau phi(tau) / Z for every dimension, Z = erf(tau / sqrt(2)).

    Raises:
      ValueError: tau not positive.
    """
    t, alpha, sigma = _at(schedule, bins, tau, x)
    half = alpha * bins.width / (2 * sigma)  # of the bin, in standard deviations: tau, or less at the first time
    eps = jax.vmap(lambda key: jax.random.truncated_normal(key, -half, half, x.shape[1:], x.dtype))(keys)
    z = jax.scipy.special.erf(half / math.sqrt(2))
    cut = half * jnp.exp(-(half**2) / 2) / (math.sqrt(2 * math.pi) * z)
    entropy = jnp.log(sigma * z) + _NORMAL_ENTROPY - cut
    return Dequantized(alpha * x + sigma * eps, t, jnp.broadcast_to(x[0].size * entropy, len(x)))


def variational(keys: Keys, schedule: Schedule, x: Sample, bins: Bins, *, tau: float = 3.0) -> Dequantized:
    """The noise of the process, corrected as in the variational bound: by a decoder of the levels, log p(x | x_t).

    x_t = alpha x + sigma eps, and p(x | x_t) proportional to q(x_t | x) over the levels, as in VDM (arXiv:2107.00630)
    and arXiv:2305.03935. The correction is log p(x | x_t) and the entropy of the noise. Taken at the time where
    half a bin is tau standard deviations of noise, or at the first time if that is later.

    Raises:
      ValueError: tau not positive.
    """
    t, alpha, sigma = _at(schedule, bins, tau, x)
    eps = arrays.normal_like(keys, x)
    # Distances in standard deviations from level j, where the data are at level 0 of their own and eps from it.
    step = alpha * bins.width / sigma
    position = jnp.round(x / bins.width + (bins.num_levels - 1) / 2)

    def add(total: jax.Array, level: jax.Array) -> tuple[jax.Array, None]:
        distance = eps + (position - level) * step
        return jnp.logaddexp(total, -(distance**2) / 2), None

    total, _ = jax.lax.scan(add, jnp.full_like(x, -jnp.inf), jnp.arange(bins.num_levels).astype(x.dtype))
    log_decoder = arrays.sum_per_sample(-(eps**2) / 2 - total)
    correction = log_decoder + x[0].size * (jnp.log(sigma) + _NORMAL_ENTROPY)
    return Dequantized(alpha * x + sigma * eps, t, correction)


def bits_per_dim(nats: Numeric, num_dims: int, bin_width: float = 1.0) -> Numeric:
    """Bits per dimension of a log-probability in nats; of a log-density with the width of the bins that it stands for.

    -nats / (D log 2) - log2(bin_width).
    """
    return -nats / (num_dims * math.log(2)) - math.log2(bin_width)


def _at(schedule: Schedule, bins: Bins, tau: float, x: Sample) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(t, alpha, sigma) where half a bin is tau standard deviations of noise, or at the first time."""
    if not tau > 0:
        raise ValueError(f"tau must be > 0, got {tau}")
    t = schedule.t_of_log_snr(jnp.asarray(2 * math.log(2 * tau / bins.width), x.dtype))
    t = jnp.maximum(t, jnp.asarray(first_time(schedule), x.dtype))
    return t, schedule.alpha(t), schedule.sigma(t)
