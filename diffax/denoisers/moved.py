"""A prediction with one half changed: the other follows, so that both still make x_t."""

import jax.numpy as jnp

from diffax import arrays
from diffax.typing import Array, Numeric, Prediction, Schedule

# Below this alpha / sigma x_t is noise and nothing else, and 1 / alpha explodes.
PURE_NOISE = 1e-3


def to_x_0(prediction: Prediction, schedule: Schedule, x_t: Array, t: Numeric, x_0: Array) -> Prediction:
    """This x_0, and the eps that makes x_t with it; where sigma = 0, eps as it was."""
    alpha, sigma = (arrays.expand_to(value(t), x_t) for value in (schedule.alpha, schedule.sigma))
    eps = (x_t - alpha * x_0) / jnp.where(sigma > 0, sigma, 1)
    return prediction._replace(x_0=x_0, eps=jnp.where(sigma > 0, eps, prediction.eps))


def by_score(prediction: Prediction, schedule: Schedule, x_t: Array, t: Numeric, gradient: Array) -> Prediction:
    """The score moved by `gradient`: eps - sigma gradient, x_0 + sigma^2 / alpha gradient.

    Where x_t is pure noise, and x_0 would have to move without bounds, nothing is moved.
    """
    alpha, sigma = (arrays.expand_to(value(t), x_t) for value in (schedule.alpha, schedule.sigma))
    has_signal = alpha > PURE_NOISE * sigma
    step = jnp.where(has_signal, sigma * gradient, 0)
    ratio = jnp.where(has_signal, sigma / jnp.where(has_signal, alpha, 1), 0)
    return prediction._replace(x_0=prediction.x_0 + ratio * step, eps=prediction.eps - step)
