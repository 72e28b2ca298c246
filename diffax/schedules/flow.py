"""The linear interpolation schedule of rectified flow and flow matching."""

import dataclasses

from diffax import arrays
from diffax.schedules import limits
from diffax.typing import Array, Numeric


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Flow:
    """The linear interpolation of flow matching: alpha = 1 - t, sigma = t.

    Rectified flow (arXiv:2209.03003) and flow matching with optimal-transport paths (arXiv:2210.02747). In both papers
    t = 0 is noise and t = 1 is data. Here, as everywhere in diffax, t = 0 is data.
    """

    def alpha(self, t: Numeric) -> Array:
        _, t = arrays.as_float(t)
        return 1 - t

    def sigma(self, t: Numeric) -> Array:
        _, t = arrays.as_float(t)
        return t

    def log_snr(self, t: Numeric) -> Array:
        return limits.log_ratio(self.alpha(t) ** 2, self.sigma(t) ** 2)

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        xp, log_snr = arrays.as_float(log_snr)
        return 1 / (1 + xp.exp(log_snr / 2))
