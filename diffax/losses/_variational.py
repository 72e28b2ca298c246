"""Losses that train the variance of the reverse steps: the variational bound and the hybrid loss of improved DDPM."""

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from diffax import denoisers, processes
from diffax.losses._denoising import regression
from diffax.losses._loss import Noised, PerSample, Predict, Sample, draw_times, noised
from diffax.losses.weighting import Weighting
from diffax.processes import reverse_steps
from diffax.processes.reverse_steps import Variance
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Schedule

Decoder = Literal["discretized", "gaussian"]
# Of the position of a time on the chain, relative: how far rounding may have moved it up from a step.
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


def variational_bound(
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
    num_levels: int | None = None,
    variance: Variance = "learned",
    decoder: Decoder = "discretized",
    num_steps: int = 1000,
) -> PerSample:
    """The variational bound at one step of every sample, in bits per dimension: DDPM's L, improved DDPM's L_vlb.

    The loss is num_steps times the term of one step (processes.reverse_steps). Its mean is the bound without L_T, which
    depends on no parameter, if steps are drawn with equal probability (time densities uniform, discrete_uniform) or
    weighted for it (loss_second_moment). Arguments as for losses.denoising, and:

    Args:
      weighting: not used: the bound weighs the steps.
      t: times in [0, 1], rounded up to the steps (i + 1) / num_steps.
      num_levels: of discrete data; None for points and dequantised data.
      variance: that of the reverse steps: learned, small or large.
      decoder: the distribution of the last step. discretized: of discrete data; gaussian: a density.
      num_steps: the number of steps T of the chain.

    Raises:
      ValueError: num_steps < 2, a raw output without a learned variance that `variance` asks for, a discretised decoder
        for data that are not discrete.
      TypeError: an x_0 of integers, legacy keys (jax.random.PRNGKey).
    """
    levels = decoder_levels(decoder, num_levels)
    t = _on_the_chain(keys, schedule, time_density, t, num_steps)
    at = noised(keys, schedule, x_0, time_density, eps=eps, t=t)
    net_out, fraction = denoisers.split_variance(predict(at.x_t, at.t, key=at.network_keys), at.x_t)
    return _bits_per_dim(net_out, fraction, at, schedule, parameterization, num_steps, variance, levels)


def hybrid(
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
    num_levels: int | None = None,
    bound_weight: float = 0.001,
    decoder: Decoder = "discretized",
    num_steps: int = 1000,
) -> PerSample:
    """Improved DDPM's hybrid loss L_simple + lambda L_vlb (arXiv:2102.09672, eq. 16).

    L_simple is the denoising loss, which trains the mean; L_vlb is the variational bound with learned variance in bits
    per dimension, and trains the variance alone: gradients do not flow through its mean. Arguments as for
    losses.denoising and losses.variational_bound, and:

    Args:
      weighting: of L_simple; the paper's is uniform.
      bound_weight: lambda.

    Raises:
      ValueError: num_steps < 2, a raw output without a learned variance, a discretised decoder for data that are not
        discrete.
      TypeError: an x_0 of integers, legacy keys (jax.random.PRNGKey).
    """
    levels = decoder_levels(decoder, num_levels)
    t = _on_the_chain(keys, schedule, time_density, t, num_steps)
    at = noised(keys, schedule, x_0, time_density, eps=eps, t=t)
    net_out, fraction = denoisers.split_variance(predict(at.x_t, at.t, key=at.network_keys), at.x_t)
    simple = regression(net_out, at, schedule, parameterization, weighting, time_density, teacher)
    frozen = jax.lax.stop_gradient(net_out)
    bound = _bits_per_dim(frozen, fraction, at, schedule, parameterization, num_steps, "learned", levels)
    return simple + bound_weight * bound


def decoder_levels(decoder: Decoder, num_levels: int | None) -> int | None:
    """The number of levels of a discretised decoder; None for a Gaussian density.

    Args:
      num_levels: of the data; None where they are not discrete.

    Raises:
      ValueError: an unknown decoder, or a discretised one for data that are not discrete.
    """
    if decoder not in get_args(Decoder):
        raise ValueError(f"loss.decoder must be one of {', '.join(get_args(Decoder))}, got {decoder!r}")
    if decoder == "discretized" and num_levels is None:
        raise ValueError(
            "loss.decoder = 'discretized' is for images of discrete levels, and these data are points or dequantised "
            "(data.dequantize): set loss.decoder=gaussian"
        )
    return num_levels if decoder == "discretized" else None


def _bits_per_dim(
    net_out: Sample,
    fraction: jax.Array | None,
    at: Noised,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    num_steps: int,
    variance: Variance,
    num_levels: int | None,
) -> PerSample:
    """num_steps times the term of the bound of each sample's step, in bits per dimension."""
    prediction = parameterization.predict(schedule, net_out.astype(at.x_t.dtype), at.x_t, at.t)
    prediction = prediction._replace(log_variance_fraction=fraction)
    steps = reverse_steps.of_length(schedule, at.t, num_steps)
    term = reverse_steps.term(steps, prediction, at.x_0, variance, num_levels)
    return term * (num_steps / (math.log(2) * at.x_0[0].size))


def _on_the_chain(
    keys: Keys, schedule: Schedule, time_density: TimeDensity, t: PerSample | None, num_steps: int
) -> PerSample:
    """The times of a loss, rounded up to steps of the chain."""
    t = draw_times(keys, schedule, time_density) if t is None else t
    return jnp.maximum(jnp.ceil(t * num_steps * (1 - _ROUNDING)), 1) / num_steps
