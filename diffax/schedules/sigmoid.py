"""The sigmoid noise schedule in continuous time."""

import dataclasses

from diffax import arrays
from diffax.schedules import limits
from diffax.typing import Array, Numeric


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """The sigmoid schedule: alpha^2 falls from 1 to 0 along the logistic function between start / tau and end / tau.

    alpha^2 = (S(e) - S(u)) / (S(e) - S(s)), u = s + t (e - s), s = start / tau, e = end / tau, S the logistic function
    (arXiv:2212.11972, algorithm 1; 2301.10972). Variance preserving. Differences of S are computed as
    S(a) - S(b) = sinh((a - b)/2) / (2 cosh(a/2) cosh(b/2)), which does not cancel at either end.
    """

    start: Numeric = -3.0
    end: Numeric = 3.0
    tau: Numeric = 1.0

    def _parts(self, t: Numeric) -> tuple[Array, Array]:
        """(alpha^2, sigma^2) as products of positive factors."""
        xp, t, start, end, tau = arrays.as_float(t, self.start, self.end, self.tau)
        s, e = start / tau, end / tau
        u = s + t * (e - s)
        common = xp.cosh(u / 2) * xp.sinh((e - s) / 2)
        signal = xp.sinh((1 - t) * (e - s) / 2) * xp.cosh(s / 2) / common
        noise = xp.sinh(t * (e - s) / 2) * xp.cosh(e / 2) / common
        return signal, noise

    def alpha(self, t: Numeric) -> Array:
        return limits.root(self._parts(t)[0])

    def sigma(self, t: Numeric) -> Array:
        return limits.root(self._parts(t)[1])

    def log_snr(self, t: Numeric) -> Array:
        return limits.log_ratio(*self._parts(t))

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        # With D = e - s and R = SNR cosh(e/2) / cosh(s/2): sinh((1-t) D/2) = R sinh(t D/2), solved for exp(t D).
        xp, log_snr, start, end, tau = arrays.as_float(log_snr, self.start, self.end, self.tau)
        s, e = start / tau, end / tau
        ratio = xp.exp(log_snr) * xp.cosh(e / 2) / xp.cosh(s / 2)
        return xp.log1p(2 * xp.sinh((e - s) / 2) / (ratio + xp.exp((s - e) / 2))) / (e - s)
