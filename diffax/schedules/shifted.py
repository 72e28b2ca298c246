"""Any schedule, run through with its log-SNR moved: for images larger than those it was made for."""

import dataclasses

from diffax import arrays
from diffax.typing import Array, Node, Numeric, Schedule


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Shifted:
    """The base schedule at the time where its log-SNR is log_snr(t) + shift.

    simple diffusion (arXiv:2301.11093, eq. 3) shifts by 2 log(64 / d) for images of side d; the timestep shift s of
    Stable Diffusion 3 (arXiv:2403.03206, eq. 23) is a shift by -2 log s. Times where the base has alpha = 0 or
    sigma = 0 stay where they are. A schedule that ends before pure noise (LinearBeta, VarianceExploding) is followed
    past its end; a Discrete one has no times there, so its shift saturates: rather make its betas anew.
    """

    base: Node[Schedule]
    shift: Node[Numeric]

    def _base_time(self, t: Numeric) -> Array:
        _, t, shift = arrays.as_float(t, self.shift)
        pinned = (self.base.alpha(t) == 0) | (self.base.sigma(t) == 0)
        moved = self.base.time_of(self.base.log_snr(t) + shift)
        return arrays.namespace(moved).where(pinned, t, moved)

    def alpha(self, t: Numeric) -> Array:
        return self.base.alpha(self._base_time(t))

    def sigma(self, t: Numeric) -> Array:
        return self.base.sigma(self._base_time(t))

    def log_snr(self, t: Numeric) -> Array:
        return self.base.log_snr(self._base_time(t))

    def time_of(self, log_snr: Numeric) -> Array:
        _, log_snr, shift = arrays.as_float(log_snr, self.shift)
        return self.base.time_of(self.base.log_snr(self.base.time_of(log_snr)) - shift)
