"""Resolution-dependent shift of the log-SNR of any noise schedule."""

import dataclasses
import math

from diffax import arrays
from diffax.typing import Array, Numeric, Schedule


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Shifted:
    """A noise schedule with shifted log-SNR: the base schedule at the time where its log-SNR is log_snr(t) + shift.

    simple diffusion (arXiv:2301.11093, eq. 3) shifts by 2 log(64 / d) for images of side d. The timestep shift s of
    Stable Diffusion 3 (arXiv:2403.03206, eq. 23) is a shift by -2 log s.

    The shift is part of the schedule. Densities of training times and time grids of samplers are those of the base
    schedule: they must not be shifted once more.

    Times where the base has alpha = 0 or sigma = 0 are not moved. A schedule that ends before pure noise (LinearBeta,
    VarianceExploding) is extrapolated past its end. A Discrete schedule has no times past its end, so its shift
    saturates there; compute new betas instead.

    base: the schedule to shift.
    shift: in nats of log-SNR; negative is more noise.
    """

    base: Schedule
    shift: Numeric

    @classmethod
    def for_resolution(cls, base: Schedule, side: float | int, reference_side: float | int = 64.0) -> "Shifted":
        """The shift by 2 log(reference_side / side) for images of another side than the base schedule is meant for.

        It keeps the signal-to-noise ratio of images averaged down to the reference side: simple diffusion (eq. 3), and
        Stable Diffusion 3 (eq. 23), whose s = sqrt(m / n) for m and n pixels is side / reference_side.

        Raises:
          ValueError: a side that is not positive.
        """
        if not (side > 0 and reference_side > 0):
            raise ValueError(f"side and reference_side must be > 0, got {side} and {reference_side}")
        return cls(base, 2 * math.log(reference_side / side))

    def _base_time(self, t: Numeric) -> Array:
        _, t, shift = arrays.as_float(t, self.shift)
        pinned = (self.base.alpha(t) == 0) | (self.base.sigma(t) == 0)
        moved = self.base.t_of_log_snr(self.base.log_snr(t) + shift)
        return arrays.namespace(moved).where(pinned, t, moved)

    def alpha(self, t: Numeric) -> Array:
        return self.base.alpha(self._base_time(t))

    def sigma(self, t: Numeric) -> Array:
        return self.base.sigma(self._base_time(t))

    def log_snr(self, t: Numeric) -> Array:
        return self.base.log_snr(self._base_time(t))

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        _, log_snr, shift = arrays.as_float(log_snr, self.shift)
        return self.base.t_of_log_snr(self.base.log_snr(self.base.t_of_log_snr(log_snr)) - shift)
