"""The forward process and its Gaussian conditionals: q(x_t | x_0), q(x_t | x_s) and q(x_s | x_t, x_0), for s <= t."""

from typing import NamedTuple

import jax
from jaxtyping import Float

from diffax import arrays
from diffax.typing import Array, Keys, Numeric, Schedule


class Gaussian(NamedTuple):
    """An isotropic Gaussian: mean (batch, *dims) and one variance per sample, or one for all."""

    mean: Array
    variance: Array

    def sample(self, keys: Keys) -> jax.Array:
        """Draws one sample per key."""
        std = arrays.namespace(self.variance).sqrt(self.variance)
        return self.mean + arrays.expand_to(std, self.mean) * arrays.normal_like(keys, self.mean)


def diffuse(
    schedule: Schedule, x_0: Float[Array, "batch *dims"], eps: Float[Array, "batch *dims"], t: Numeric
) -> Float[Array, "batch *dims"]:
    """Draws x_t = alpha_t x_0 + sigma_t eps, the forward process in one jump; t is a scalar or (batch,).

    DDPM (arXiv:2006.11239), eq. 4; its alpha_bar_t is our alpha_t squared.
    """
    return arrays.expand_to(schedule.alpha(t), x_0) * x_0 + arrays.expand_to(schedule.sigma(t), x_0) * eps


def marginal(schedule: Schedule, x_0: Float[Array, "batch *dims"], t: Numeric) -> Gaussian:
    """The marginal of the forward process, q(x_t | x_0) = N(alpha_t x_0, sigma_t^2)."""
    return Gaussian(arrays.expand_to(schedule.alpha(t), x_0) * x_0, schedule.sigma(t) ** 2)


def transition_coefficients(schedule: Schedule, s: Numeric, t: Numeric) -> tuple[Array, Array]:
    """The coefficients (a, variance) of the forward transition q(x_t | x_s) = N(a x_s, variance).

    a = alpha_t / alpha_s and variance = sigma_t^2 (1 - SNR_t / SNR_s) (VDM, arXiv:2107.00630, eq. 21 and 22). On a
    DDPM step from t - 1/T to t the variance is beta_t.
    """
    alpha_s, alpha_t = schedule.alpha(s), schedule.alpha(t)
    return _ratio(alpha_t, alpha_s), schedule.sigma(t) ** 2 * _lost_snr(schedule, s, t)


def transition(schedule: Schedule, x_s: Float[Array, "batch *dims"], s: Numeric, t: Numeric) -> Gaussian:
    """The forward transition q(x_t | x_s) from s to t."""
    a, variance = transition_coefficients(schedule, s, t)
    return Gaussian(arrays.expand_to(a, x_s) * x_s, variance)


def posterior_coefficients(schedule: Schedule, s: Numeric, t: Numeric) -> tuple[Array, Array, Array]:
    """The coefficients (a, b, variance) of the posterior q(x_s | x_t, x_0) = N(a x_t + b x_0, variance).

    With c = 1 - SNR_t / SNR_s: a = (alpha_t / alpha_s) (sigma_s / sigma_t)^2, b = alpha_s c, variance = sigma_s^2 c.
    This is DDPM's posterior (arXiv:2006.11239, eq. 6 and 7) for any alpha and sigma (arXiv:2107.00630, eq. 25 to 29).
    """
    alpha_s, sigma_s = schedule.alpha(s), schedule.sigma(s)
    lost = _lost_snr(schedule, s, t)
    # Where alpha_t = 0, x_t carries no information about x_s, unless x_s is pure noise as well.
    a = _ratio(schedule.alpha(t), alpha_s) * _ratio(sigma_s, schedule.sigma(t)) ** 2
    return a, alpha_s * lost, sigma_s**2 * lost


def posterior(
    schedule: Schedule, x_0: Float[Array, "batch *dims"], x_t: Float[Array, "batch *dims"], s: Numeric, t: Numeric
) -> Gaussian:
    """The posterior q(x_s | x_t, x_0): the exact reverse step for a known x_0."""
    a, b, variance = posterior_coefficients(schedule, s, t)
    return Gaussian(arrays.expand_to(a, x_t) * x_t + arrays.expand_to(b, x_0) * x_0, variance)


def prior_std(schedule: Schedule) -> Array:
    """The standard deviation of the prior that sampling starts from, sigma(1)."""
    return schedule.sigma(1.0)


def _lost_snr(schedule: Schedule, s: Numeric, t: Numeric) -> Array:
    """1 - SNR_t / SNR_s without cancellation, and not below 0 by rounding errors for a step without noise."""
    difference = schedule.log_snr(t) - schedule.log_snr(s)
    xp = arrays.namespace(difference)
    return -xp.expm1(xp.minimum(difference, 0))


def _ratio(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator; where the denominator is 0, it is 1 if the numerator is 0 as well and otherwise 0."""
    xp = arrays.namespace(numerator, denominator)
    zero = denominator == 0
    limit = xp.where(numerator == 0, xp.ones_like(denominator), xp.zeros_like(denominator))
    return xp.where(zero, limit, numerator / xp.where(zero, xp.ones_like(denominator), denominator))
