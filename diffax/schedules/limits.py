"""The limit of the log-SNR, and operations that are finite at pure data and pure noise."""

import math

from diffax import arrays
from diffax.typing import Array, Numeric

# In nats. At +-80 the smaller of alpha and sigma is 4e-18 of the other, below the resolution of float32 and float64,
# while exp(+-80) is still a normal float32. So no infinity occurs downstream, and derivatives at the ends are finite.
LOG_SNR_LIMIT = 80.0


def limited(log_snr: Numeric) -> Array:
    """Clips a log-SNR to +-LOG_SNR_LIMIT."""
    xp, log_snr = arrays.as_float(log_snr)
    return xp.clip(log_snr, -LOG_SNR_LIMIT, LOG_SNR_LIMIT)


def log_ratio(signal: Numeric, noise: Numeric) -> Array:
    """The log-SNR of two powers alpha^2 and sigma^2, either of which may be 0, clipped to +-LOG_SNR_LIMIT."""
    xp = arrays.namespace(signal, noise)
    tiny = math.exp(-LOG_SNR_LIMIT)
    return limited(xp.log(xp.maximum(signal, tiny)) - xp.log(xp.maximum(noise, tiny)))


def root(power: Numeric) -> Array:
    """The square root of a number >= 0, with derivative 0 at 0: an infinite one would give NaN in products with 0."""
    xp, power = arrays.as_float(power)
    positive = power > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, power, 1)), xp.zeros_like(power))
