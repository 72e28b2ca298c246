"""The denoising loss (denoising score matching) for any parameterization and loss weighting."""

import jax.numpy as jnp

from diffax import arrays, processes
from diffax.losses._loss import Noised, PerSample, Predict, Sample, noised, pair_of
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Schedule


def denoising(
    keys: Keys,
    predict: Predict,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    x_0: Sample,
    *,
    weighting: Weighting,
    time_density: TimeDensity,
    noise: processes.Noise = processes.NORMAL,
    eps: Sample | None = None,
    t: PerSample | None = None,
    teacher: Denoiser | None = None,
) -> PerSample:
    """The denoising loss: the weighted squared error of the prediction at one noisy version of every sample.

    The loss of a sample is w(log_snr_t) |eps_hat - eps|^2, averaged over its dimensions. It is computed as
    exp(log w + 2 log scale) |net_out - target|^2, with the ratio `scale` of the two errors in closed form, so that it
    is finite and exact where alpha or sigma is 0. Everything but the network is computed in float32, or in float64
    where x_0 is: data in float16 or bfloat16 are converted.

    Args:
      keys: (batch,) typed keys. The time, noise and dropout of sample i depend on keys[i] alone; with a Stratified
        density also on i and the batch size.
      predict: (x_t, t) to the raw output; denoisers.raw_network makes one from a network.
      x_0: the data, (batch, *dims).
      weighting: the loss weighting, see losses.weighting.
      time_density: the distribution of training times, see processes.time_sampling.
      noise: the law of eps, see processes.noise.
      eps: noise of x_0's shape to use instead of drawing it, for stored pairs and couplings.
      t: times (batch,) to use instead of drawing them, for parts of a batch whose times were drawn together.
      teacher: a denoiser whose prediction at x_t is the target, instead of the (x_0, eps) that x_t was made of. With
        the exact denoiser of the data the loss has the same minimum, but its target does not have the noise of single
        pairs (stable targets, arXiv:2302.00670).

    Returns:
      (batch,), in units of eps squared; float32 or float64.

    Raises:
      TypeError: an x_0 of integers, legacy keys (jax.random.PRNGKey).
      ValueError: keys not one per sample.
    """
    at = noised(keys, schedule, x_0, time_density, noise=noise, eps=eps, t=t)
    net_out = predict(at.x_t, at.t, key=at.network_keys)
    return regression(net_out, at, schedule, parameterization, weighting, time_density, teacher)


def regression(
    net_out: Sample,
    at: Noised,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    weighting: Weighting,
    time_density: TimeDensity,
    teacher: Denoiser | None = None,
) -> PerSample:
    """The denoising loss of a raw output at noisy data, (batch,); arguments as for `denoising`."""
    error = net_out.astype(at.x_t.dtype) - parameterization.target(schedule, *pair_of(at, teacher), at.t)
    return weighted_square(error, at.t, schedule, parameterization, weighting, time_density)


def weighted_square(
    error: Sample,
    t: PerSample,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    weighting: Weighting,
    time_density: TimeDensity,
) -> PerSample:
    """The weighted squared error of a raw output at the times t, averaged over dimensions, (batch,)."""
    log_weight = log_error_weight(schedule, parameterization, weighting, time_density, t)
    # The weight is applied before squaring, because the squared error of a score overflows float32 where sigma = 0.
    return arrays.mean_per_sample((arrays.expand_to(jnp.exp(log_weight / 2), error) * error) ** 2)


def log_error_weight(
    schedule: Schedule,
    parameterization: processes.Parameterization,
    weighting: Weighting,
    time_density: TimeDensity,
    t: PerSample,
) -> PerSample:
    """The log weight of the squared error of the raw output, log w + 2 log scale, (batch,)."""
    log_snr = schedule.log_snr(t)
    log_norm = jnp.log(jnp.hypot(schedule.alpha(t), schedule.sigma(t)))
    log_weight = weighting(log_snr, time_density.log_density(schedule, t))
    return log_weight + 2 * parameterization.log_error_scale(log_snr, log_norm)
