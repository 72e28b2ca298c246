"""The denoising loss (denoising score matching) for any parameterization and loss weighting."""

from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, processes
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Schedule

Sample = Float[jax.Array, "batch *dims"]
PerSample = Float[jax.Array, " batch"]


@runtime_checkable
class Predict(Protocol):
    """A network as the loss calls it: the raw output at x_t. key has one PRNG key per sample, for dropout."""

    def __call__(self, x_t: Sample, t: PerSample, /, *, key: Keys) -> Sample: ...


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
    arrays.check_keys(keys, x_0.shape[:1])
    x_0 = arrays.at_least_float32(x_0)
    _, noise_keys, network_keys = arrays.split_keys(keys, 3)
    t = (draw_times(keys, schedule, time_density) if t is None else t).astype(x_0.dtype)
    eps = noise.sample(noise_keys, x_0) if eps is None else eps.astype(x_0.dtype)
    x_t = processes.diffuse(schedule, x_0, eps, t)
    if teacher is not None:
        x_0, eps = (half.astype(x_t.dtype) for half in jax.lax.stop_gradient(teacher(x_t, t))[:2])
    error = predict(x_t, t, key=network_keys).astype(x_t.dtype) - parameterization.target(schedule, x_0, eps, t)
    log_weight = log_error_weight(schedule, parameterization, weighting, time_density, t)
    # The weight is applied before squaring, because the squared error of a score overflows float32 where sigma = 0.
    return arrays.mean_per_sample((arrays.expand_to(jnp.exp(log_weight / 2), error) * error) ** 2)


def draw_times(keys: Keys, schedule: Schedule, time_density: TimeDensity) -> PerSample:
    """The training times (batch,) that `denoising` draws with the keys of a whole batch."""
    time_keys, _, _ = arrays.split_keys(keys, 3)
    return time_density.sample(time_keys, schedule)


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
