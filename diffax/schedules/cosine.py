"""The cosine noise schedule in continuous time."""

import dataclasses
import math

from diffax import arrays
from diffax.schedules import limits
from diffax.typing import Array, Numeric


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Cosine:
    """The cosine schedule: alpha = cos(pi t / 2), sigma = sin(pi t / 2), log_snr = -2 log tan(pi t / 2).

    The continuous-time form of progressive distillation (arXiv:2202.00512, section 3), which is the schedule of
    improved DDPM (arXiv:2102.09672, eq. 17) with s = 0. Variance preserving; pure data at t = 0, pure noise at t = 1.
    """

    def alpha(self, t: Numeric) -> Array:
        # A sine of 1 - t, because the cosine of pi / 2 in float32 is -4e-8.
        xp, t = arrays.as_float(t)
        return xp.sin(math.pi / 2 * (1 - t))

    def sigma(self, t: Numeric) -> Array:
        xp, t = arrays.as_float(t)
        return xp.sin(math.pi / 2 * t)

    def log_snr(self, t: Numeric) -> Array:
        return limits.log_ratio(self.alpha(t) ** 2, self.sigma(t) ** 2)

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        xp, log_snr = arrays.as_float(log_snr)
        return 2 / math.pi * xp.arctan(xp.exp(-log_snr / 2))
