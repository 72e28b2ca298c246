"""The cosine schedule: a quarter turn from data to noise."""

import dataclasses
import math

from diffax import arrays
from diffax.schedules import limits
from diffax.typing import Array, Numeric


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Cosine:
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2); log_snr = -2 log tan(pi t / 2).

    The continuous-time cosine schedule of progressive distillation (arXiv:2202.00512, section 3), which is that of
    improved DDPM (arXiv:2102.09672, eq. 17) with s = 0. Variance preserving, exactly data at 0 and noise at 1.
    """

    def alpha(self, t: Numeric) -> Array:
        # As a sine of 1 - t: the cosine of float32's pi / 2 is -4e-8.
        xp, t = arrays.as_float(t)
        return xp.sin(math.pi / 2 * (1 - t))

    def sigma(self, t: Numeric) -> Array:
        xp, t = arrays.as_float(t)
        return xp.sin(math.pi / 2 * t)

    def log_snr(self, t: Numeric) -> Array:
        return limits.log_ratio(self.alpha(t) ** 2, self.sigma(t) ** 2)

    def time_of(self, log_snr: Numeric) -> Array:
        xp, log_snr = arrays.as_float(log_snr)
        return 2 / math.pi * xp.arctan(xp.exp(-log_snr / 2))
