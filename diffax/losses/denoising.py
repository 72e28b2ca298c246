"""The denoising loss: how well a network names what was mixed into x_t."""

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
    """A network's raw output at x_t; key holds one key per sample, for dropout."""

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
    eps: Sample | None = None,
    t: PerSample | None = None,
    teacher: Denoiser | None = None,
) -> PerSample:
    """The weighted squared error of one noisy view of every sample, averaged over its dimensions.

    w(log_snr_t) |eps_hat - eps|^2, computed as exp(log w + 2 log scale) |net_out - target|^2 with the scale between the
    two errors in closed form, so that it is finite and exact where alpha or sigma is 0.

    Args:
      keys: one key per sample; sample i's time, noise and dropout depend on keys[i] (and on i, B for a Stratified
        density) alone.
      predict: (x_t, t) to raw output; denoisers.raw_network makes one from a network.
      eps: noise to use instead of drawing it: stored pairs, couplings. Shape of x_0.
      t: times to use instead of drawing them: (batch,). For parts of a batch whose times were drawn together.
      teacher: whose prediction at x_t to learn, instead of the (x_0, eps) that x_t was made of. The exact denoiser of
        the data has the same minimum, without the noise of single pairs (stable targets, arXiv:2302.00670).

    Returns:
      (batch,), in units of eps squared.
    """
    _, noise_keys, network_keys = arrays.split_keys(keys, 3)
    if t is None:
        t = draw_times(keys, schedule, time_density).astype(x_0.dtype)
    if eps is None:
        eps = arrays.normal_like(noise_keys, x_0)
    x_t = processes.diffuse(schedule, x_0, eps, t)
    if teacher is not None:
        x_0, eps, _ = jax.lax.stop_gradient(teacher(x_t, t))
    error = predict(x_t, t, key=network_keys) - parameterization.target(schedule, x_0, eps, t)
    log_weight = log_error_weight(schedule, parameterization, weighting, time_density, t)
    # Weighed before it is squared: a score's error squared passes float32's range where sigma = 0.
    return arrays.mean_per_sample((arrays.expand_to(jnp.exp(log_weight / 2), error) * error) ** 2)


def draw_times(keys: Keys, schedule: Schedule, time_density: TimeDensity) -> PerSample:
    """The times that `denoising` draws by the keys of a whole batch."""
    time_keys, _, _ = arrays.split_keys(keys, 3)
    return time_density.sample(time_keys, schedule)


def log_error_weight(
    schedule: Schedule,
    parameterization: processes.Parameterization,
    weighting: Weighting,
    time_density: TimeDensity,
    t: PerSample,
) -> PerSample:
    """The log weight of the squared error of the raw output: log w + 2 log scale."""
    log_snr = schedule.log_snr(t)
    log_norm = jnp.log(jnp.hypot(schedule.alpha(t), schedule.sigma(t)))
    log_weight = weighting(log_snr, time_density.log_density(schedule, t))
    return log_weight + 2 * parameterization.log_error_scale(log_snr, log_norm)
