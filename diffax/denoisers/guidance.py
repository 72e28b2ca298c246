"""Classifier-free guidance: away from what a sample looks like in general, towards what it is asked to be."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, processes
from diffax.denoisers import moved
from diffax.denoisers.network import ApplyFn, TimeInput, from_network
from diffax.typing import Denoiser, Node, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class ClassifierFree:
    """See classifier_free."""

    conditional: Node[Denoiser]
    unconditional: Node[Denoiser]
    scale: Node[Numeric]
    interval: Node[tuple[Numeric, Numeric]]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        return _extrapolate(self.conditional(x_t, t), self.unconditional(x_t, t), self.scale, self.interval, x_t, t)


def classifier_free(
    conditional: Denoiser,
    unconditional: Denoiser,
    scale: Numeric,
    *,
    interval: tuple[Numeric, Numeric] = (0.0, 1.0),
) -> ClassifierFree:
    """unconditional + scale (conditional - unconditional), in both halves (arXiv:2207.12598, eq. 6, scale = 1 + w).

    scale 1 is no guidance, 0 ignores the condition. Outside `interval` of t scale is 1 (arXiv:2404.07724). Any two
    denoisers will do: with a weaker model of the same data in the place of `unconditional` this is autoguidance
    (arXiv:2406.02507, eq. 3).
    """
    return ClassifierFree(conditional, unconditional, scale, interval)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class CfgPlusPlus:
    """See cfg_plus_plus."""

    conditional: Node[Denoiser]
    unconditional: Node[Denoiser]
    scale: Node[Numeric]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        base = self.unconditional(x_t, t)
        guided = _extrapolate(self.conditional(x_t, t), base, self.scale, (0.0, 1.0), x_t, t)
        return guided._replace(eps=base.eps)


def cfg_plus_plus(conditional: Denoiser, unconditional: Denoiser, scale: Numeric) -> CfgPlusPlus:
    """The guided x_0 with the unconditional eps (arXiv:2406.08070, algorithm 2), scale in [0, 1].

    Its halves do not make x_t, on purpose, so that a table must use both as they are: ddim, which puts the
    unconditional noise back; not the exponential ones.
    """
    return CfgPlusPlus(conditional, unconditional, scale)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Rescaled:
    """See rescaled."""

    guided: Node[ClassifierFree]
    schedule: Node[Schedule]
    factor: Node[Numeric]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        conditional, unconditional = self.guided.conditional(x_t, t), self.guided.unconditional(x_t, t)
        guided = _extrapolate(conditional, unconditional, self.guided.scale, self.guided.interval, x_t, t)
        wanted, had = (_std(prediction.x_0) for prediction in (conditional, guided))
        ratio = jnp.where(had > 0, wanted / jnp.where(had > 0, had, 1), 1)
        gain = arrays.expand_to(self.factor * ratio + (1 - self.factor), x_t)
        return moved.to_x_0(guided, self.schedule, x_t, t, gain * guided.x_0)


def rescaled(guided: ClassifierFree, schedule: Schedule, factor: Numeric = 0.7) -> Rescaled:
    """Guidance whose x_0 has the conditional one's standard deviation again, by `factor` in [0, 1].

    arXiv:2305.08891, eq. 15 and 16, on x_0: against the over-exposure of strong guidance. 0 changes nothing.
    """
    return Rescaled(guided, schedule, factor)


def _std(x: Sample) -> Float[jax.Array, " batch"]:
    return x.reshape(x.shape[0], -1).std(axis=1)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class GuidedNetwork:
    """See guided_network."""

    network: Node[Denoiser]
    scale: Node[Numeric]
    interval: Node[tuple[Numeric, Numeric]]

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
) -> GuidedNetwork:
    """classifier_free of one network under a condition and under its null value, in one call of twice the batch."""
    both = jax.tree.map(lambda given, null: jnp.concatenate([given, null]), condition, null_condition)
    network = from_network(apply_fn, params, schedule, parameterization, time_input=time_input, condition=both)
    return GuidedNetwork(network, scale, interval)


def _extrapolate(
    conditional: Prediction,
    unconditional: Prediction,
    scale: Numeric,
    interval: tuple[Numeric, Numeric],
    x_t: Sample,
    t: Numeric,
) -> Prediction:
    low, high = interval
    inside = (jnp.asarray(t) >= low) & (jnp.asarray(t) <= high)
    weight = arrays.expand_to(jnp.where(inside, jnp.asarray(scale, x_t.dtype), 1), x_t)
    x_0, eps = (
        base + weight * (towards - base) for towards, base in zip(conditional[:2], unconditional[:2], strict=True)
    )
    return Prediction(x_0, eps, conditional.variance)
