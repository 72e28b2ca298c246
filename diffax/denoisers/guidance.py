"""Classifier-free guidance (arXiv:2207.12598), CFG++ and guidance rescaling.

Guidance extrapolates from the unconditional to the conditional prediction.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, processes
from diffax.denoisers import moved
from diffax.denoisers.network import ApplyFn, TimeInput, from_network
from diffax.typing import Denoiser, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class _ClassifierFree:
    """The two denoisers, the guidance scale and the guidance interval of classifier_free."""

    conditional: Denoiser
    unconditional: Denoiser
    scale: Numeric
    interval: tuple[Numeric, Numeric]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        return _extrapolate(self.conditional(x_t, t), self.unconditional(x_t, t), self.scale, self.interval, x_t, t)


def classifier_free(
    conditional: Denoiser,
    unconditional: Denoiser,
    scale: Numeric,
    *,
    interval: tuple[Numeric, Numeric] = (0.0, 1.0),
) -> Denoiser:
    """Classifier-free guidance: unconditional + scale (conditional - unconditional), in both x_0 and eps.

    arXiv:2207.12598, eq. 6, with scale = 1 + w. Any two denoisers can be used: with a weaker model of the same data as
    `unconditional` this is autoguidance (arXiv:2406.02507, eq. 3).

    Args:
      scale: the guidance scale, a number or one per sample. 1 is no guidance; 0 ignores the condition.
      interval: (low, high), the range of t in which guidance is applied (arXiv:2404.07724); outside it the scale is 1.
    """
    return _ClassifierFree(conditional, unconditional, scale, interval)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class _CfgPlusPlus:
    """The two denoisers and the guidance scale of cfg_plus_plus."""

    conditional: Denoiser
    unconditional: Denoiser
    scale: Numeric

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        base = self.unconditional(x_t, t)
        guided = _extrapolate(self.conditional(x_t, t), base, self.scale, (0.0, 1.0), x_t, t)
        return guided._replace(eps=base.eps)


def cfg_plus_plus(conditional: Denoiser, unconditional: Denoiser, scale: Numeric) -> Denoiser:
    """CFG++: the guided x_0 together with the unconditional eps (arXiv:2406.08070, algorithm 2).

    alpha x_0 + sigma eps differs from x_t, on purpose. Therefore the sampler has to use both predictions as they are.
    `samplers.ddim` does, which renoises with the unconditional eps. Exponential integrators do not.

    Args:
      scale: the guidance scale, in [0, 1].
    """
    return _CfgPlusPlus(conditional, unconditional, scale)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class _Rescaled:
    """The two denoisers, the schedule and the options of rescaled."""

    conditional: Denoiser
    unconditional: Denoiser
    schedule: Schedule
    scale: Numeric
    factor: Numeric
    interval: tuple[Numeric, Numeric]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        conditional, unconditional = self.conditional(x_t, t), self.unconditional(x_t, t)
        guided = _extrapolate(conditional, unconditional, self.scale, self.interval, x_t, t)
        target, current = (_std(prediction.x_0) for prediction in (conditional, guided))
        ratio = jnp.where(current > 0, target / jnp.where(current > 0, current, 1), 1)
        gain = arrays.expand_to(self.factor * ratio + (1 - self.factor), x_t)
        return moved.to_x_0(guided, self.schedule, x_t, t, gain * guided.x_0)


def rescaled(
    conditional: Denoiser,
    unconditional: Denoiser,
    schedule: Schedule,
    scale: Numeric,
    *,
    factor: Numeric = 0.7,
    interval: tuple[Numeric, Numeric] = (0.0, 1.0),
) -> Denoiser:
    """Classifier-free guidance with rescaling: restores the standard deviation of the conditional x_0.

    arXiv:2305.08891, eq. 15 and 16, applied to x_0. Reduces the over-exposure of large guidance scales.

    Args:
      scale: the guidance scale, as in classifier_free.
      factor: from 0 (plain classifier-free guidance) to 1 (exactly the conditional standard deviation).
      interval: (low, high), the range of t in which guidance is applied.
    """
    return _Rescaled(conditional, unconditional, schedule, scale, factor, interval)


def _std(x: Sample) -> Float[jax.Array, " batch"]:
    return x.reshape(x.shape[0], -1).std(axis=1)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class _GuidedNetwork:
    """A network denoiser of twice the batch, the guidance scale and the guidance interval of guided_network."""

    network: Denoiser
    scale: Numeric
    interval: tuple[Numeric, Numeric]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        both_t = t if jnp.ndim(t) == 0 else jnp.concatenate([t, t])
        both = self.network(jnp.concatenate([x_t, x_t]), both_t)
        conditional = jax.tree.map(lambda half: half[: x_t.shape[0]], both)
        unconditional = jax.tree.map(lambda half: half[x_t.shape[0] :], both)
        return _extrapolate(conditional, unconditional, self.scale, self.interval, x_t, t)


def guided_network(
    apply_fn: ApplyFn,
    params: Any,
    schedule: Schedule,
    parameterization: processes.Parameterization,
    *,
    time_input: TimeInput,
    condition: Any,
    null_condition: Any,
    scale: Numeric,
    interval: tuple[Numeric, Numeric] = (0.0, 1.0),
) -> Denoiser:
    """Classifier-free guidance of one network, evaluated in a single call with twice the batch.

    The first half of the batch has the condition, the second half the null condition. The other arguments are those of
    from_network.

    Args:
      condition, null_condition: pytrees of the same structure and shapes, with a batch axis.
      scale: the guidance scale, as in classifier_free.
      interval: (low, high), the range of t in which guidance is applied.
    """
    both = jax.tree.map(lambda leaf, null: jnp.concatenate([leaf, null]), condition, null_condition)
    network = from_network(apply_fn, params, schedule, parameterization, time_input=time_input, condition=both)
    return _GuidedNetwork(network, scale, interval)


def _extrapolate(
    conditional: Prediction,
    unconditional: Prediction,
    scale: Numeric,
    interval: tuple[Numeric, Numeric],
    x_t: Sample,
    t: Numeric,
) -> Prediction:
    """Classifier-free guidance of two predictions; a learned variance is the conditional one."""
    low, high = interval
    inside = (jnp.asarray(t) >= low) & (jnp.asarray(t) <= high)
    weight = arrays.expand_to(jnp.where(inside, jnp.asarray(scale, x_t.dtype), 1), x_t)
    x_0, eps = (
        base + weight * (towards - base) for towards, base in zip(conditional[:2], unconditional[:2], strict=True)
    )
    return Prediction(x_0, eps, conditional.log_variance_fraction)
