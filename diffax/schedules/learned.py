"""A learned monotone noise schedule: log-SNR by a small network with positive weights (VDM, arXiv:2107.00630)."""

import dataclasses
from types import ModuleType
from typing import Any

import jax
import numpy as np

from diffax import arrays
from diffax.typing import Array, Numeric

# Halvings of [0, 1] after which an interval is as short as the precision of a time.
_HALVINGS = {"float32": 25, "float64": 54}


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Learned:
    """A learned variance-preserving schedule, whose log-SNR falls monotonically between two fixed ends.

      log_snr(t) = start + (end - start) (g(t) - g(0)) / (g(1) - g(0)),
      g(t) = t + sum_k exp(height_k) tanh(exp(steepness_k) (t - centre_k)),

    VDM's monotone network (arXiv:2107.00630, appendix H), l1(t) + l3(sigmoid(l2(l1(t)))), whose positive weights are
    exponentials here. alpha^2 = sigmoid(log_snr). sigma(0) > 0, as with VarianceExploding. `initial` makes one.

    Training minimises the variance of the estimate of the bound, which the schedule between its ends does not change
    (section 5.2). The ends are not learned: the training loss is the diffusion term of the bound alone.

    log_snr_start, log_snr_end: at t = 0 and at t = 1, in nats.
    learning_rate: of `parameters`, by Adam; times the decay of the network's.
    parameters: {"height", "steepness", "centre"}, each (num_features,).
    """

    log_snr_start: Numeric
    log_snr_end: Numeric
    learning_rate: Numeric
    parameters: Any

    @classmethod
    def initial(
        cls,
        log_snr_start: float = 13.3,
        log_snr_end: float = -5.0,
        *,
        num_features: int = 64,
        learning_rate: float = 1e-2,
    ) -> "Learned":
        """The schedule before training, close to linear log-SNR: small features, evenly spread over time.

        The ends are those of VDM on images. VDM has 1,024 features.

        Raises:
          ValueError: a log-SNR that does not fall, num_features < 1.
        """
        if not log_snr_start > log_snr_end:
            raise ValueError(f"log_snr_start must be above log_snr_end, got {log_snr_start} and {log_snr_end}")
        if num_features < 1:
            raise ValueError(f"num_features must be >= 1, got {num_features}")
        parameters = {
            "height": np.full(num_features, np.log(0.1 / num_features)),
            "steepness": np.full(num_features, np.log(10.0)),
            "centre": (np.arange(num_features) + 0.5) / num_features,
        }
        return cls(log_snr_start, log_snr_end, learning_rate, parameters)

    def objective(self, loss: Array, log_snr: Array) -> Array:
        """What the parameters minimise, per sample: loss^2, in the mean the variance of the loss up to a constant."""
        return loss**2

    def alpha(self, t: Numeric) -> Array:
        log_snr = self.log_snr(t)
        xp = arrays.namespace(log_snr)
        return xp.exp(-xp.logaddexp(xp.zeros_like(log_snr), -log_snr) / 2)

    def sigma(self, t: Numeric) -> Array:
        log_snr = self.log_snr(t)
        xp = arrays.namespace(log_snr)
        return xp.exp(-xp.logaddexp(xp.zeros_like(log_snr), log_snr) / 2)

    def log_snr(self, t: Numeric) -> Array:
        _, t, start, end = arrays.as_float(t, self.log_snr_start, self.log_snr_end)
        return start + (end - start) * self._fraction(t)

    def t_of_log_snr(self, log_snr: Numeric) -> Array:
        """The time at which log_snr has this value, by bisection; 0 or 1 beyond the ends.

        In JAX a Newton step follows, by which it can be differentiated.
        """
        xp, log_snr, start, end = arrays.as_float(log_snr, self.log_snr_start, self.log_snr_end)
        fraction = xp.clip((log_snr - start) / (end - start), 0, 1)
        num, ends = _HALVINGS[str(fraction.dtype)], (xp.zeros_like(fraction), xp.ones_like(fraction))
        if xp is np:
            for _ in range(num):
                ends = self._halved(np, fraction, ends)
            return (ends[0] + ends[1]) / 2
        fixed, target = jax.lax.stop_gradient((self, fraction))
        low, high = jax.lax.fori_loop(0, num, lambda _, ends: fixed._halved(xp, target, ends), ends)
        t = (low + high) / 2
        _, slope = jax.jvp(fixed._fraction, (t,), (xp.ones_like(t),))
        return t + (fraction - self._fraction(t)) / slope

    def _halved(self, xp: ModuleType, fraction: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        is_before = self._fraction(middle) < fraction
        return xp.where(is_before, middle, ends[0]), xp.where(is_before, ends[1], middle)

    def _fraction(self, t: Array) -> Array:
        """How much of the way from the first log-SNR to the last is gone at t."""
        names = ("height", "steepness", "centre")
        xp, t, *leaves = arrays.as_float(t, *(self.parameters[name] for name in names))
        # One axis more than t has, for the features.
        height, steepness, centre = (leaf.reshape((1,) * t.ndim + leaf.shape) for leaf in leaves)
        height, steepness = xp.exp(height), xp.exp(steepness)

        def rise(t: Array) -> Array:
            features = xp.tanh(steepness * (t[..., None] - centre)) + xp.tanh(steepness * centre)
            return t + (height * features).sum(-1)

        return rise(t) / rise(xp.ones_like(t))
