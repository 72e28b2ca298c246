"""Continuous-time consistency training and distillation: sCM (arXiv:2410.11081)."""

from typing import Literal, get_args

import jax.numpy as jnp

from diffax import arrays, processes
from diffax.losses import _flow_map
from diffax.losses._loss import PerSample, Predict, Sample, noised, pair_of
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Numeric, Schedule

Tangent = Literal["normalized", "clipped", "plain"]


def continuous_consistency(
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
    progress: Numeric = 1.0,
    tangent: Tangent = "normalized",
    warmup: float = 0.05,
) -> PerSample:
    """The continuous-time consistency loss of a network of one time, whose prediction is the flow map to s = 0.

    The raw output is regressed on itself plus the tangent g = cos(t) dF/dt, with F(x_t, t) the flow map to 0 of the raw
    output, its derivative along the trajectory in units of the raw output, and cos(t) = alpha / hypot(alpha, sigma).
    With the cosine schedule and the v parameterization this is TrigFlow, whose angle is pi / 2 times our t, for data of
    unit variance (arXiv:2410.11081, algorithm 1). Its adaptive weighting is the weighting `learned`, and the paper
    starts from the parameters of a diffusion model.

    Args: as losses.denoising; and
      teacher: a denoiser whose velocity at x_t stands for that of the pair: consistency distillation.
      progress: how much of the training is done, from 0 to 1.
      tangent: normalized, g / (|g| + 0.1) with |g| the root mean square over dimensions; clipped, to [-1, 1]; or plain.
      warmup: over this fraction of training, the part of g that flow matching does not have grows from 0. The paper has
        10,000 steps of 400,000.

    Raises:
      ValueError: an unknown tangent, a warmup outside [0, 1].
    """
    if tangent not in get_args(Tangent):
        raise ValueError(f"loss.tangent must be one of {', '.join(get_args(Tangent))}, got {tangent!r}")
    if not 0 <= warmup <= 1:
        raise ValueError(f"loss.warmup must be in [0, 1], got {warmup:g}")
    at = noised(keys, schedule, x_0, time_density, eps=eps, t=t)
    pair = pair_of(at, teacher)

    def of_one_time(x: Sample, time: PerSample, _: PerSample | None = None, *, key: Keys | None = None) -> Sample:
        return predict(x, time, key=key)

    v, zero = _flow_map.velocity(schedule, *pair, at.t), jnp.zeros_like(at.t)
    derivative, net_out = _flow_map.derivative_along(of_one_time, schedule, parameterization, at, zero, v)
    alpha, sigma = schedule.alpha(at.t), schedule.sigma(at.t)
    cosine = arrays.expand_to(alpha / jnp.hypot(alpha, sigma), at.x_t)
    # The part of the derivative that flow matching has too, algorithm 1.
    matching = cosine * (parameterization.target(schedule, *pair, at.t) - net_out)
    grown = 1.0 if warmup == 0 else jnp.minimum(jnp.asarray(progress, at.x_t.dtype) / warmup, 1)
    whole = _flow_map.in_raw_units(schedule, parameterization, derivative, at.t)
    g = cosine * (matching + grown * (whole - matching))
    if tangent == "normalized":
        g = g / (arrays.expand_to(jnp.sqrt(arrays.mean_per_sample(g**2)), g) + 0.1)
    elif tangent == "clipped":
        g = jnp.clip(g, -1, 1)
    return _flow_map.regressed(net_out, g, at, schedule, parameterization, weighting, time_density)
