"""Steps of the reverse process as a chain of Gaussians, and what each adds to the variational bound.

A chain has noise levels t_N > ... > t_1 at which the denoiser is evaluated. Step n goes from t_n to t_(n-1), the last
one from t_1 to data. Its Gaussian p(x_s | x_t) has the mean of the posterior q(x_s | x_t, x_0) at the predicted x_0,
and one of the variances

  small    that of q(x_s | x_t, x_0), DDPM's beta-tilde
  large    that of q(x_t | x_s), DDPM's beta
  learned  small^(1 - v) large^v, with v the prediction's log_variance_fraction (arXiv:2102.09672, eq. 15).
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from diffax import arrays
from diffax.processes import bounds
from diffax.typing import Array, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]
PerSample = Float[jax.Array, " batch"]
Variance = Literal["small", "large", "learned"]
# Of the SNR, what a step without noise is taken to lose: its variance is then not 0, and its term of the bound is.
_LEAST_LOST = 1e-30
_ROUNDING = 1e-5


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class ReverseSteps:
    """Reverse steps, each entry (steps,) or (batch,): one step for each sample.

    t, alpha, sigma: the noise level at which a step starts.
    x_0_factor: the factor of x_0 in the posterior mean.
    log_small, log_large: log-variances. The posterior of the last step has variance 0; its log_small is that of the
      step before it, as in DDPM's code.
    is_last: whether the step leads to data.
    """

    t: Array
    alpha: Array
    sigma: Array
    x_0_factor: Array
    log_small: Array
    log_large: Array
    is_last: Array

    def at(self, index: Any) -> "ReverseSteps":
        """The steps of these indices."""
        return jax.tree.map(lambda leaf: leaf[index], self)

    def noisy(self, x_0: Sample, eps: Sample) -> Sample:
        """x_t = alpha x_0 + sigma eps at the start of each step."""
        return arrays.expand_to(self.alpha, x_0) * x_0 + arrays.expand_to(self.sigma, x_0) * eps


def chain(schedule: Schedule, times: npt.ArrayLike) -> ReverseSteps:
    """The steps of a chain in NumPy float64, first to last.

    Args:
      times: the noise levels, strictly decreasing: any subset of those that a network was trained on. A last time at
        which sigma is 0 is data itself and no step starts there: grids of samplers can be used as they are.

    Raises:
      ValueError: times not strictly decreasing in [0, 1], or none with noise.
    """
    schedule, times = arrays.in_float64(schedule), np.asarray(times, np.float64)
    if times.ndim != 1 or not times.size or times.max() > 1 or times.min() < 0 or not np.all(np.diff(times) < 0):
        raise ValueError(f"times must be a vector that decreases strictly within [0, 1], got {times}")
    if schedule.sigma(times[-1]) == 0:
        times = times[:-1]
    if not times.size:
        raise ValueError("times must hold a noise level, got data alone")
    s = np.append(times[1:], times[-1])
    is_last = np.arange(len(times)) == len(times) - 1
    return _steps(schedule, s, times, is_last, before=times[-2] if len(times) > 1 else None)


def of_length(schedule: Schedule, t: PerSample, num_steps: int) -> ReverseSteps:
    """For each time in (0, 1] its step to t - 1 / num_steps, or to data where that is not above 0.

    For t = (i + 1) / num_steps these are the steps of the chain of num_steps equal steps, DDPM's. Other times are on
    such a chain with an offset.

    Raises:
      ValueError: num_steps < 2.
    """
    if num_steps < 2:
        raise ValueError(f"a chain needs num_steps >= 2, got {num_steps}")
    is_last = t * num_steps < 1 + _ROUNDING
    s = jnp.where(is_last, t, t - 1 / num_steps)
    return _steps(schedule, s, t, is_last, before=jnp.minimum(t + 1 / num_steps, 1))


def kl_term(steps: ReverseSteps, prediction: Prediction, x_0: Sample, variance: Variance) -> PerSample:
    """KL(q(x_s | x_t, x_0) || p(x_s | x_t)) in nats for steps that are not the last, (batch,).

    DDPM's L_(t-1) (arXiv:2006.11239, eq. 5). The difference of the means is x_0_factor times that of the x_0.
    """
    log_small = arrays.expand_to(steps.log_small, x_0)
    error = arrays.expand_to(steps.x_0_factor, x_0) * (x_0 - prediction.x_0)
    log_variance = _log_variance(steps, prediction, x_0, variance)
    return arrays.sum_per_sample(bounds.kl_divergence(error, log_small, jnp.zeros_like(error), log_variance))


def decoder_term(
    steps: ReverseSteps, prediction: Prediction, x_0: Sample, variance: Variance, num_levels: int | None
) -> PerSample:
    """-log p(x_0 | x_t) in nats for the last step, (batch,): DDPM's L_0 (arXiv:2006.11239, eq. 5 and 13).

    The mean is the predicted x_0.

    Args:
      num_levels: of discrete data, whose decoder is a discretised Gaussian; its variance is `small` for both fixed
        variances, as in DDPM's code. None for continuous data, whose decoder is a Gaussian density with the variance
        `large`, sigma_t^2: that of q(x_0 | x_t) as sigma_t falls to 0, so that the bound of the exact denoiser falls to
        -log q(x_0) as the number of steps grows.
    """
    if variance != "learned":
        variance = "large" if num_levels is None else "small"
    log_variance = _log_variance(steps, prediction, x_0, variance)
    if num_levels is None:
        return -arrays.sum_per_sample(bounds.gaussian_log_density(x_0, prediction.x_0, log_variance))
    return -arrays.sum_per_sample(bounds.discretized_log_likelihood(x_0, prediction.x_0, log_variance, num_levels))


def term(
    steps: ReverseSteps, prediction: Prediction, x_0: Sample, variance: Variance, num_levels: int | None
) -> PerSample:
    """decoder_term for last steps and kl_term for all others, in nats, (batch,)."""
    # Where the decoder is not used, it is computed at its mean, so that its gradient is finite.
    is_last = arrays.expand_to(steps.is_last.astype(x_0.dtype), x_0) > 0
    decoded = prediction._replace(x_0=jnp.where(is_last, prediction.x_0, x_0))
    decoder = decoder_term(steps, decoded, x_0, variance, num_levels)
    return jnp.where(steps.is_last, decoder, kl_term(steps, prediction, x_0, variance))


def prior_term(schedule: Schedule, x_0: Sample, t: Numeric = 1.0) -> PerSample:
    """KL(q(x_t | x_0) || N(0, sigma_t^2)) in nats, (batch,): DDPM's L_T, at the time t where sampling starts.

    The prior is that of the samplers.
    """
    schedule = arrays.in_float64(schedule)
    ratio = np.asarray(schedule.alpha(t), np.float64) / np.asarray(schedule.sigma(t), np.float64)
    return arrays.sum_per_sample(jnp.asarray(ratio**2 / 2, x_0.dtype) * x_0**2)


def _steps(schedule: Schedule, s: Array, t: Array, is_last: Array, before: Numeric | None) -> ReverseSteps:
    """Steps from t to s; of a last one s is t, and `before` the time at which the step before it starts."""
    xp = arrays.namespace(s, t)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)

    def log_lost(s: Array, t: Array) -> Array:
        """log(1 - SNR_t / SNR_s)."""
        return xp.log(xp.maximum(-xp.expm1(schedule.log_snr(t) - schedule.log_snr(s)), _LEAST_LOST))

    to_data = xp.zeros_like(t)
    log_lost_here = xp.where(is_last, to_data, log_lost(s, t))
    log_large = 2 * xp.log(sigma) + log_lost_here
    # Of a last step: the posterior variance of the step before it, which ends where this one starts.
    log_lost_small = to_data if before is None else xp.where(is_last, log_lost(t, before + to_data), log_lost_here)
    return ReverseSteps(
        t=t,
        alpha=alpha,
        sigma=sigma,
        x_0_factor=xp.where(is_last, 1, schedule.alpha(s)) * xp.exp(log_lost_here),
        log_small=2 * xp.log(schedule.sigma(s)) + log_lost_small,
        log_large=log_large,
        is_last=is_last,
    )


def _log_variance(steps: ReverseSteps, prediction: Prediction, x_0: Sample, variance: Variance) -> jax.Array:
    """The log-variance of p(x_s | x_t), of a shape that broadcasts to x_0's."""
    small, large = arrays.expand_to(steps.log_small, x_0), arrays.expand_to(steps.log_large, x_0)
    if variance == "small":
        return small
    if variance == "large":
        return large
    if variance != "learned":
        raise ValueError(f"variance must be small, large or learned, got {variance!r}")
    fraction = prediction.log_variance_fraction
    if fraction is None:
        raise ValueError(
            "variance = 'learned' needs a denoiser whose prediction has a log_variance_fraction, that of a network "
            "with a learned variance; for this one use 'small' or 'large'"
        )
    fraction = fraction.astype(x_0.dtype)
    return (1 - fraction) * small + fraction * large
