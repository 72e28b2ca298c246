"""alpha-Flow: the curriculum from flow matching over shortcuts to MeanFlow (arXiv:2510.20771)."""

import jax
import jax.numpy as jnp

from diffax import arrays, processes
from diffax.conditions import SPAN, Number
from diffax.losses import _flow_map
from diffax.losses._loss import PerSample, Predict, Sample, pair_of, tells
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Numeric, Schedule


@tells(**{SPAN: Number()})
def alpha_flow(
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
    share: float = 0.5,
    adaptive: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    temperature: float = 25.0,
    clamp: float = 0.005,
) -> PerSample:
    """The alpha-Flow loss (arXiv:2510.20771) of a network of two times.

    With F(x_t, t, s) the flow map of the raw output, m = alpha s + (1 - alpha) t and x_m a step from x_t to m, the
    error is the velocity (F(x_t, t, s) - F(x_m, m, s)) / (t - m). alpha falls from 1 to 0 during training
    (`step_ratio`). alpha = 1 is flow matching of the whole way from t to s; 1/2 is a shortcut model whose first half is
    a step along the pair; 0 is MeanFlow, by the derivative. Under the flow schedule with the flow parameterization
    the gradient is the published one, that of |u - (alpha v + (1 - alpha) u(x_m, m, s))|^2 / alpha with its adaptive
    weight; the value is 1 / alpha times the published one.

    Args: as losses.denoising; and
      teacher: a denoiser whose prediction at x_t stands for the pair that x_t was made of: distillation, or stable
        targets.
      progress: how much of the training is done, from 0 to 1.
      share: of samples whose s is below t; the paper has 1/2 or 3/4. The others are those of flow matching.
      adaptive: the power p of the weight (loss + 1e-3 / alpha^2)^-p of each sample, in the units of MeanFlow's loss;
        1e-3 for alpha = 0 and for flow matching.
      start, end, temperature, clamp: of `step_ratio`.

    Raises:
      ValueError: not 0 <= start < end <= 1.
    """
    alpha = step_ratio(progress, start=start, end=end, temperature=temperature, clamp=clamp)
    at, s = _flow_map.noised_at_two_times(keys, schedule, x_0, time_density, share, eps=eps, t=t)
    pair = pair_of(at, teacher)
    net_out = predict(at.x_t, at.t, s, key=at.network_keys)

    def by_derivative() -> Sample:
        v = _flow_map.velocity(schedule, *pair, at.t)
        derivative, _ = _flow_map.derivative_along(predict, schedule, parameterization, at, s, v)
        return jax.lax.stop_gradient(_flow_map.in_raw_units(schedule, parameterization, derivative, at.t))

    def by_difference() -> Sample:
        m = alpha.astype(at.t.dtype) * s + (1 - alpha.astype(at.t.dtype)) * at.t
        here = _flow_map.mapped(schedule, parameterization, net_out, at.x_t, at.t, s)
        x_m = processes.diffuse(schedule, *pair, m)
        there = _flow_map.mapped(schedule, parameterization, predict(x_m, m, s, key=at.network_keys), x_m, m, s)
        # Without a second time this is the error of flow matching.
        matching = parameterization.target(schedule, *pair, at.t) - net_out
        consistency = _flow_map.gap_in_raw_units(schedule, parameterization, here - there, at.t, m)
        return jax.lax.stop_gradient(jnp.where(arrays.expand_to(s < at.t, net_out), consistency, matching))

    change = jax.lax.cond(alpha == 0, by_derivative, by_difference)
    # Of the mean over dimensions, where MeanFlow's constant is of the sum.
    constant = 1e-3 * at.x_0[0].size / jnp.where((s < at.t) & (alpha > 0), alpha, 1) ** 2
    rules = (schedule, parameterization, weighting, time_density)
    return _flow_map.regressed(net_out, change, at, *rules, adaptive, constant.astype(at.t.dtype))


def step_ratio(progress: Numeric, *, start: float, end: float, temperature: float, clamp: float) -> jax.Array:
    """alpha-Flow's alpha at a point of training: 1 up to `start`, 0 from `end` on, and a sigmoid between them.

    sigmoid(temperature (1/2 - (progress - start) / (end - start))), and 0 or 1 where it is nearer than `clamp` to them:
    so MeanFlow begins before the end (arXiv:2510.20771).

    Raises:
      ValueError: not 0 <= start < end <= 1.
    """
    if not 0 <= start < end <= 1:
        raise ValueError(f"the curriculum of alpha-Flow needs 0 <= start < end <= 1, got {start:g} and {end:g}")
    progress = jnp.asarray(progress, jnp.result_type(float))
    alpha = jax.nn.sigmoid(temperature * (0.5 - (progress - start) / (end - start)))
    alpha = jnp.where((alpha < clamp) | (progress > end), 0, alpha)
    return jnp.where((alpha > 1 - clamp) | (progress < start), 1, alpha)
