"""Epsilon scaling (arXiv:2308.15321), which reduces exposure bias in sampling."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.denoisers import moved
from diffax.typing import Denoiser, Numeric, Prediction, Schedule


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _EpsilonScaled:
    """The denoiser, the schedule and the scale of epsilon_scaled."""

    denoiser: Denoiser
    schedule: Schedule
    scale: Numeric

    def __call__(self, x_t: Float[jax.Array, "batch *dims"], t: Numeric) -> Prediction:
        prediction = self.denoiser(x_t, t)
        alpha, sigma = (jnp.asarray(value(t), x_t.dtype) for value in (self.schedule.alpha, self.schedule.sigma))
        has_signal = alpha > moved.PURE_NOISE * sigma
        removed = jnp.where(has_signal, 1.0 - 1.0 / jnp.asarray(self.scale, x_t.dtype), 0.0)
        ratio = jnp.where(has_signal, sigma / jnp.where(has_signal, alpha, 1.0), 0.0)
        eps_off = arrays.expand_to(removed, x_t) * prediction.eps
        return prediction._replace(
            x_0=prediction.x_0 + arrays.expand_to(ratio, x_t) * eps_off, eps=prediction.eps - eps_off
        )


def epsilon_scaled(denoiser: Denoiser, schedule: Schedule, scale: Numeric) -> Denoiser:
    """Epsilon scaling: divides eps by scale and adapts x_0, so that alpha x_0 + sigma eps = x_t (arXiv:2308.15321).

    Samples of few steps or of an undertrained network have less variance than the data. For example, a DDIM step on
    data of unit variance loses a factor of the cosine of the angle between (alpha_t, sigma_t) and (alpha_s, sigma_s).
    A scale slightly above 1 compensates for it. Where x_t is pure noise (alpha < 0.001 sigma) nothing changes.

    Args:
      scale: such as 1.005 to 1.015; 1 changes nothing.
    """
    return _EpsilonScaled(denoiser, schedule, scale)
