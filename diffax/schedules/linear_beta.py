"""The VP SDE with linear beta: DDPM's linear schedule in continuous time."""

import dataclasses

from diffax import arrays
from diffax.schedules import limits
from diffax.typing import Array, Numeric


def integrated_beta(t: Numeric, beta_min: Numeric, beta_max: Numeric) -> Array:
    """The integrated rate B(t): the integral of beta_min + s (beta_max - beta_min) over s from 0 to t."""
    _, t, beta_min, beta_max = arrays.as_float(t, beta_min, beta_max)
    return t * (beta_min + t * (beta_max - beta_min) / 2)


def t_of_integrated_beta(b: Numeric, beta_min: Numeric, beta_max: Numeric) -> Array:
    """The inverse of integrated_beta, in a form without cancellation for small b or beta_max = beta_min."""
    xp, b, beta_min, beta_max = arrays.as_float(b, beta_min, beta_max)
    return 2 * b / (beta_min + xp.sqrt(beta_min**2 + 2 * b * (beta_max - beta_min)))


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class LinearBeta:
    """The variance-preserving (VP) SDE with linear beta: alpha = exp(-B/2), sigma = sqrt(1 - exp(-B)).

    B(t) = beta_min t + (beta_max - beta_min) t^2 / 2 (arXiv:2011.13456, eq. 32 and 33). With the defaults alpha(1) is
    exp(-5.025), not 0.
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
        return limits.root(-arrays.namespace(b).expm1(-b))

    def log_snr(self, t: Numeric) -> Array:
        b = self._b(t)
        xp = arrays.namespace(b)
        return limits.log_ratio(xp.exp(-b), -xp.expm1(-b))

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        xp, log_snr, beta_min, beta_max = arrays.as_float(log_snr, self.beta_min, self.beta_max)
        # exp(B) = 1 + 1 / SNR
        return t_of_integrated_beta(xp.logaddexp(xp.zeros_like(log_snr), -log_snr), beta_min, beta_max)
