"""The variance-exploding (VE) SDE, and EDM's noise levels."""

import dataclasses

from diffax import arrays
from diffax.schedules import limits
from diffax.typing import Array, Numeric


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class VarianceExploding:
    """The variance-exploding (VE) SDE: alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t.

    arXiv:2011.13456, eq. 30 and 31. EDM (arXiv:2206.00364) is this schedule with sigma from 0.002 to 80; its sampling
    grid is samplers.grids.karras and its training noise levels are processes.time_sampling.LogNormalSigma. sigma(0) is
    sigma_min, not 0: samplers.to_data appends the step from sigma_min to noise-free data.
    """

    sigma_min: Numeric = 0.01
    sigma_max: Numeric = 50.0

    def alpha(self, t: Numeric) -> Array:
        xp, t, *_ = arrays.as_float(t, self.sigma_min, self.sigma_max)
        return xp.ones_like(t)

    def _log_sigma(self, t: Numeric) -> Array:
        xp, t, sigma_min, sigma_max = arrays.as_float(t, self.sigma_min, self.sigma_max)
        return (1 - t) * xp.log(sigma_min) + t * xp.log(sigma_max)

    def sigma(self, t: Numeric) -> Array:
        log_sigma = self._log_sigma(t)
        return arrays.namespace(log_sigma).exp(log_sigma)

    def log_snr(self, t: Numeric) -> Array:
        return limits.limited(-2 * self._log_sigma(t))

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        xp, log_snr, sigma_min, sigma_max = arrays.as_float(log_snr, self.sigma_min, self.sigma_max)
        low, high = xp.log(sigma_min), xp.log(sigma_max)
        return (-log_snr / 2 - low) / (high - low)
