"""The sub-VP SDE with linear beta."""

import dataclasses

from diffax import arrays
from diffax.schedules import limits
from diffax.schedules.linear_beta import integrated_beta, t_of_integrated_beta
from diffax.typing import Array, Numeric


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class SubVP:
    """The sub-VP SDE with linear beta: alpha = exp(-B/2), sigma = 1 - exp(-B) (arXiv:2011.13456, eq. 29 and 34).

    B(t) = beta_min t + (beta_max - beta_min) t^2 / 2. The inverse of log_snr uses sigma / alpha = 2 sinh(B / 2).
    """

    beta_min: Numeric = 0.1
    beta_max: Numeric = 20.0

    def _b(self, t: Numeric) -> Array:
        return integrated_beta(t, self.beta_min, self.beta_max)

    def alpha(self, t: Numeric) -> Array:
        b = self._b(t)
        return arrays.namespace(b).exp(-b / 2)

    def sigma(self, t: Numeric) -> Array:
        b = self._b(t)
        return -arrays.namespace(b).expm1(-b)

    def log_snr(self, t: Numeric) -> Array:
        return limits.log_ratio(self.alpha(t) ** 2, self.sigma(t) ** 2)

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        xp, log_snr, beta_min, beta_max = arrays.as_float(log_snr, self.beta_min, self.beta_max)
        return t_of_integrated_beta(2 * xp.arcsinh(xp.exp(-log_snr / 2) / 2), beta_min, beta_max)
