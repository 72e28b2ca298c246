"""Shortcut models: one step of a flow map as two of half the size (arXiv:2410.12557)."""

import jax
import jax.numpy as jnp

from diffax import arrays, conditions, processes
from diffax.conditions import SPAN, Number
from diffax.losses import _flow_map
from diffax.losses._loss import PerSample, Predict, Sample, at_times, noised, pair_of, tells
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Schedule


@tells(**{SPAN: Number()})
def shortcut(
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
    share: float = 0.25,
    num_steps: int = 128,
) -> PerSample:
    """The loss of shortcut models (arXiv:2410.12557, algorithm 1) of a network of two times.

    Steps are of the sizes d = 1, 1/2, 1/4, ..., 2 / num_steps with equal probability, from t, a multiple of d, to
    s = t - d. The target is the raw output whose flow map from t to s is that of two steps of d / 2 by the network
    itself, without a gradient. The half steps of the smallest size are those of the network of one time, s = t: Euler's
    method. Under the flow schedule with the flow parameterization the target is the mean of the two velocities.

    Args: as losses.denoising; and
      time_density: of flow matching; t is the next multiple of d. The paper's is uniform.
      teacher: a denoiser whose prediction at x_t is the target of the samples of flow matching.
      share: of samples with a step, the paper's 1/4; the others are those of flow matching, s = t.
      num_steps: the number of steps of the finest grid, a power of 2.

    The half steps are by the parameters that are trained. The paper has their average (EMA), whose decay of 0.999 would
    outlast a short training.

    Raises:
      ValueError: num_steps that is no power of 2, or below 2.
    """
    if num_steps < 2 or num_steps & (num_steps - 1):
        raise ValueError(f"loss.num_steps must be a power of 2 and at least 2, got {num_steps}")
    at = noised(keys, schedule, x_0, time_density, eps=eps, t=t)
    size = _step_sizes(keys, num_steps).astype(at.t.dtype)
    has_step = conditions.bernoulli(keys, "has a step", share)
    on_grid = jnp.clip(jnp.ceil(at.t / size), 1, 1 / size) * size
    at = at_times(at, schedule, jnp.where(has_step, on_grid, at.t))
    m, s = (jnp.where(has_step, at.t - part * size, at.t) for part in (0.5, 1.0))

    def step(x: Sample, start: PerSample, end: PerSample) -> Sample:
        told = jnp.where(size > 2 / num_steps, end, start)
        net_out = predict(x, start, told, key=at.network_keys)
        return _flow_map.mapped(schedule, parameterization, net_out, x, start, end)

    net_out = predict(at.x_t, at.t, s, key=at.network_keys)
    reached = jax.lax.stop_gradient(step(step(at.x_t, at.t, m), m, s))
    gap = _flow_map.mapped(schedule, parameterization, net_out, at.x_t, at.t, s) - reached
    matching = parameterization.target(schedule, *pair_of(at, teacher), at.t) - net_out
    consistency = _flow_map.gap_in_raw_units(schedule, parameterization, gap, at.t, s)
    change = jnp.where(arrays.expand_to(has_step, net_out), consistency, matching)
    return _flow_map.regressed(net_out, change, at, schedule, parameterization, weighting, time_density)


def _step_sizes(keys: Keys, num_steps: int) -> PerSample:
    """Step sizes 1, 1/2, ..., 2 / num_steps, each as likely."""
    num_sizes = num_steps.bit_length() - 1
    drawn = conditions.own_keys(keys, "step size")
    level = jax.vmap(lambda key: jax.random.randint(key, (), 0, num_sizes))(drawn)
    return 2.0 ** -level.astype(jnp.result_type(float))
