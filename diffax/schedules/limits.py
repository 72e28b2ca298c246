"""Where the logarithm of a signal-to-noise ratio stops."""

import math

from diffax import arrays
from diffax.typing import Array, Numeric

# At +-80 nats the lesser of alpha and sigma is 4e-18 of the other, far below what float32 or float64 add to it, while
# exp(+-80) is still a normal float32: nothing downstream meets an infinity, and derivatives at the ends are finite.
LOG_SNR_LIMIT = 80.0


def limited(log_snr: Numeric) -> Array:
    """log_snr clipped to +-LOG_SNR_LIMIT."""
    xp, log_snr = arrays.as_float(log_snr)
    return xp.clip(log_snr, -LOG_SNR_LIMIT, LOG_SNR_LIMIT)


def log_ratio(signal: Numeric, noise: Numeric) -> Array:
    """log(signal / noise) of two powers alpha^2 and sigma^2, limited; either may be 0."""
    xp = arrays.namespace(signal, noise)
    tiny = math.exp(-LOG_SNR_LIMIT)
    return limited(xp.log(xp.maximum(signal, tiny)) - xp.log(xp.maximum(noise, tiny)))


def root(power: Numeric) -> Array:
    """The square root of a number >= 0; its derivative at 0 counts as 0: infinity makes NaN of every 0 it meets."""
    xp, power = arrays.as_float(power)
    positive = power > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, power, 1)), xp.zeros_like(power))
