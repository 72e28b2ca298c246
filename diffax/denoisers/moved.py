"""Changes to a prediction that keep alpha x_0 + sigma eps = x_t."""

import jax.numpy as jnp

from diffax import arrays
from diffax.typing import Array, Numeric, Prediction, Schedule

# Below this alpha / sigma x_t counts as pure noise, where dividing by alpha would amplify errors without limit.
PURE_NOISE = 1e-3


def to_x_0(prediction: Prediction, schedule: Schedule, x_t: Array, t: Numeric, x_0: Array) -> Prediction:
    """Replaces x_0, and eps so that alpha x_0 + sigma eps = x_t; eps is unchanged where sigma = 0."""
    alpha, sigma = (arrays.expand_to(value(t), x_t) for value in (schedule.alpha, schedule.sigma))
    eps = (x_t - alpha * x_0) / jnp.where(sigma > 0, sigma, 1)
    return prediction._replace(x_0=x_0, eps=jnp.where(sigma > 0, eps, prediction.eps))


def by_score(prediction: Prediction, schedule: Schedule, x_t: Array, t: Numeric, gradient: Array) -> Prediction:
    """Adds `gradient` to the score: eps - sigma gradient, x_0 + sigma^2 / alpha gradient.

    Where x_t is pure noise the prediction is unchanged, because the change of x_0 would be unbounded.
    """
    alpha, sigma = (arrays.expand_to(value(t), x_t) for value in (schedule.alpha, schedule.sigma))
    has_signal = alpha > PURE_NOISE * sigma
    step = jnp.where(has_signal, sigma * gradient, 0)
    ratio = jnp.where(has_signal, sigma / jnp.where(has_signal, alpha, 1), 0)
    return prediction._replace(x_0=prediction.x_0 + ratio * step, eps=prediction.eps - step)
