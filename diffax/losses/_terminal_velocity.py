"""Terminal velocity matching: the flow map by its derivative in the time that it leads to (arXiv:2511.19797)."""

import jax
import jax.numpy as jnp

from diffax import processes
from diffax.conditions import SPAN, Number
from diffax.losses import _flow_map
from diffax.losses._denoising import regression
from diffax.losses._loss import PerSample, Predict, Sample, at_times, noised, tells
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Schedule


@tells(**{SPAN: Number()})
def terminal_velocity(
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
    """The loss of terminal velocity matching (arXiv:2511.19797) of a network of two times.

    The flow map F(x_t, t, s) moves with s at the velocity of the trajectory: dF/ds = v(F, s). The loss is the squared
    error of dF/ds against v_theta(F, s), the network's own velocity there without its gradient, plus the denoising loss
    that trains this velocity. Errors are in the units of the raw output at s, with the weight of the denoising loss
    there. The gradient goes through dF/ds.

    The times are the larger and the smaller of two draws of the time density, and the denoising loss is at the first.
    The paper draws t - s and s, and takes v_theta of averaged parameters; here it is of the current ones.

    Args: as for losses.denoising; and
      teacher: a denoiser whose velocities stand for that of the pair and for v_theta: distillation (arXiv:2406.07507,
        Lagrangian), or stable targets.
    """
    first = noised(keys, schedule, x_0, time_density, eps=eps, t=t)
    rules = (schedule, parameterization, weighting, time_density)
    denoising = regression(predict(first.x_t, first.t, key=first.network_keys), first, *rules, teacher)

    later, s = _flow_map.second_time(keys, schedule, time_density, first.t, share=1.0)
    at = at_times(first, schedule, later)

    def to(s: PerSample) -> Sample:
        net_out = predict(at.x_t, at.t, s, key=at.network_keys)
        return _flow_map.mapped(schedule, parameterization, net_out, at.x_t, at.t, s)

    x_s, derivative = jax.jvp(to, (s,), (jnp.ones_like(s),))
    x_s = jax.lax.stop_gradient(x_s)
    if teacher is None:
        v = _flow_map.own_velocity(predict, schedule, parameterization, x_s, s)
    else:
        v = _flow_map.velocity_of(schedule, at._replace(t=s, x_t=x_s), teacher)
    return denoising + _flow_map.velocity_loss(derivative - v, s, *rules)
