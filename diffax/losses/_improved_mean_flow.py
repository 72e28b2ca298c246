"""Improved MeanFlow: the derivative along the model's own velocity, told its guidance (arXiv:2512.02012)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffax import conditions, processes
from diffax.conditions import SPAN, Conditions, Kind, Number
from diffax.losses import _flow_map, _guidance
from diffax.losses._loss import PerSample, Predict, Sample, Unconditional, tells
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Denoiser, Keys, Schedule


def _guidance_told(max_scale: float = 1.0, **_: Any) -> Mapping[str, Kind]:
    return conditions.GUIDANCE if max_scale > 1 else {}


@tells(_guidance_told, **{SPAN: Number()})
def improved_mean_flow(
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
    unconditional: Unconditional | None = None,
    share: float = 0.5,
    adaptive: float = 1.0,
    constant: float = 0.01,
    max_scale: float = 1.0,
    scale_power: float = 1.0,
) -> PerSample:
    """The loss of improved MeanFlow (arXiv:2512.02012, algorithm 1) of a network of two times.

    As MeanFlow, but the derivative dF/dt of the flow map is along the model's own velocity v_theta(x_t, t), and the
    raw output is corrected by dF/dt + v - v_theta: a regression on v whose other parts depend on x_t alone. Under the
    flow schedule with the flow parameterization it is |u + (t - s) sg(du/dt) - v|^2. v_theta is the network's output
    with s = t. The times are the larger and the smaller of two draws of the time density; the paper's is logit-normal
    with mean -0.4 and standard deviation 1.

    With max_scale > 1 the network is told its guidance (conditions.GUIDANCE): a scale w, and an interval of t. v
    becomes v + (1 - 1 / w) (v_theta(x_t, t | condition, w) - v_theta(x_t, t)) in the interval. At sampling any scale
    and interval can be asked for, by sampler.guidance = embedded. Samples without conditions are not guided.

    Args: as for losses.mean_flow; and
      share: of samples whose s is below t.
      max_scale: guidance scales w are drawn from 1 to max_scale; 1 is no guidance, 8 that of the authors' code.
      scale_power: of the density of w, proportional to w^-scale_power. The interval is from a uniform draw below 1/2 to
        one above it, and everything where s = t.

    Raises:
      ValueError: guidance of a network without conditions.
    """
    at, s = _flow_map.noised_at_two_times(keys, schedule, x_0, time_density, share, eps=eps, t=t)
    v = _flow_map.velocity_of(schedule, at, teacher)

    here = (schedule, parameterization, at.x_t, at.t)
    told: dict[str, Conditions] = {}
    if max_scale > 1:
        if unconditional is None:
            raise ValueError(_guidance.NEEDS_CONDITIONS.format(option="loss.max_scale"))
        guidance = _drawn(keys, at.t, s, max_scale, scale_power, unconditional)
        told, v_theta = {"told": guidance.between}, _flow_map.own_velocity(predict, *here, told=guidance.at_t)
        ones = jnp.ones_like(at.t)
        null = _flow_map.own_velocity(unconditional.predict, *here)
        v = _guidance.guided_velocity(v, v_theta, null, ones, guidance.kappa)
    else:
        v_theta = _flow_map.own_velocity(predict, *here)
    derivative, net_out = _flow_map.derivative_along(predict, schedule, parameterization, at, s, v_theta, **told)
    rules = (schedule, parameterization, weighting, time_density)
    return _flow_map.corrected(net_out, derivative + v - v_theta, at, *rules, adaptive, constant)


class _Drawn(NamedTuple):
    """The guidance of a batch: kappa = 1 - 1 / w at t, and what the network is told of it, at t and from t to s."""

    kappa: PerSample
    at_t: Conditions
    between: Conditions


def _drawn(
    keys: Keys, t: PerSample, s: PerSample, max_scale: float, power: float, unconditional: Unconditional
) -> _Drawn:
    def uniform(name: str) -> PerSample:
        return jax.vmap(lambda key: jax.random.uniform(key, dtype=t.dtype))(conditions.own_keys(keys, name))

    u = uniform("guidance scale")
    if power == 1:
        scale = max_scale**u
    else:
        scale = (1 + u * (max_scale ** (1 - power) - 1)) ** (1 / (1 - power))
    scale = jnp.where(unconditional.dropped, jnp.ones_like(t), scale)
    low = jnp.where(s < t, uniform("guidance low") / 2, jnp.zeros_like(t))
    high = jnp.where(s < t, (1 + uniform("guidance high")) / 2, jnp.ones_like(t))
    now = _guidance.where_guided(scale, 1.0, t, (low, high), unconditional)
    everywhere = conditions.guidance(now, jnp.zeros_like(t), jnp.ones_like(t))
    return _Drawn(1 - 1 / now, everywhere, conditions.guidance(scale, low, high))
