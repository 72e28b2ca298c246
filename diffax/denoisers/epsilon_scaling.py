"""Epsilon scaling: a denoiser that takes a little less noise away, against the loss of variance while sampling."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays
from diffax.denoisers import moved
from diffax.typing import Denoiser, Node, Numeric, Prediction, Schedule


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class EpsilonScaled:
    """See epsilon_scaled."""

    denoiser: Node[Denoiser]
    schedule: Node[Schedule]
    scale: Node[Numeric]

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


def epsilon_scaled(denoiser: Denoiser, schedule: Schedule, scale: Numeric) -> EpsilonScaled:
    """eps / scale, and the x_0 that makes x_t with it (arXiv:2308.15321).

    Samples of few steps, or of a network that has not learned all there is, vary less than the data: DDIM's step on
    data of unit variance is short by the cosine of the angle it turns. A scale just above 1, such as 1.005 to 1.015,
    gives the variance back; 1 changes nothing. Where x_t is pure noise (alpha < 0.001 sigma) nothing is changed.
    """
    return EpsilonScaled(denoiser, schedule, scale)
