"""Classifier-free guidance (arXiv:2207.12598), composition of conditions, CFG++ and guidance rescaling.

Guidance extrapolates from the unconditional to the conditional prediction.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import arrays, conditions, processes
from diffax.denoisers import moved
from diffax.denoisers.network import ApplyFn, NetworkDenoiser, TimeInput, from_network
from diffax.typing import Denoiser, Numeric, Prediction, Schedule

Sample = Float[jax.Array, "batch *dims"]


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _Composed:
    """The denoisers, the guidance scales and the guidance interval of composed."""

    conditionals: tuple[Denoiser, ...]
    unconditional: Denoiser
    scales: tuple[Numeric, ...]
    interval: tuple[Numeric, Numeric]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        towards = [conditional(x_t, t) for conditional in self.conditionals]
        return _extrapolate(towards, self.unconditional(x_t, t), self.scales, self.interval, x_t, t)


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
    return _Composed((conditional,), unconditional, (scale,), interval)


def composed(
    conditionals: Sequence[Denoiser],
    unconditional: Denoiser,
    scales: Sequence[Numeric],
    *,
    interval: tuple[Numeric, Numeric] = (0.0, 1.0),
) -> Denoiser:
    """Composition: unconditional + sum_i scale_i (conditional_i - unconditional), in both x_0 and eps.

    Asks for all conditions at once, as if they were independent given x_t (arXiv:2206.01714, eq. 11). One conditional
    denoiser is classifier-free guidance; a negative scale steers away from its condition.

    Args:
      scales: one for each conditional denoiser.
      interval: (low, high), the range of t in which guidance is applied; outside it the result is the mean of the
        conditional predictions.

    Raises:
      ValueError: not as many scales as conditional denoisers, or none.
    """
    _check_scales(len(conditionals), scales)
    return _Composed(tuple(conditionals), unconditional, tuple(scales), interval)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _CfgPlusPlus:
    """The two denoisers and the guidance scale of cfg_plus_plus."""

    conditional: Denoiser
    unconditional: Denoiser
    scale: Numeric

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        base = self.unconditional(x_t, t)
        guided = _extrapolate([self.conditional(x_t, t)], base, [self.scale], (0.0, 1.0), x_t, t)
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
@dataclasses.dataclass(frozen=True, eq=False)
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
        guided = _extrapolate([conditional], unconditional, [self.scale], self.interval, x_t, t)
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


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _Embedded:
    """The network denoiser, the guidance scale and the guidance interval of embedded."""

    network: NetworkDenoiser
    scale: Numeric
    interval: tuple[Numeric, Numeric]

    def __call__(self, x_t: Sample, t: Numeric, s: Numeric | None = None) -> Prediction:
        def each(value: Numeric) -> Float[jax.Array, " batch"]:
            return jnp.broadcast_to(jnp.asarray(value, x_t.dtype), x_t.shape[:1])

        scale, start, end, zero, one = map(each, (self.scale, t, t if s is None else s, 0, 1))
        low, high = map(each, self.interval)
        # At one time the interval says no more than whether there is guidance: the network knows it as everywhere.
        is_guided, is_span = (start >= low) & (start <= high), end != start
        scale = jnp.where(is_guided | is_span, scale, one)
        low, high = jnp.where(is_span, low, zero), jnp.where(is_span, high, one)
        return self.network.telling(conditions.guidance(scale, low, high))(x_t, t, s)


def embedded(conditional: Denoiser, scale: Numeric, *, interval: tuple[Numeric, Numeric] = (0.0, 1.0)) -> Denoiser:
    """Guidance that the network is told: one evaluation, of a network that was trained to be guided.

    Guidance-distilled models (arXiv:2210.03142) take the scale as an input, improved MeanFlow (arXiv:2512.02012) the
    interval too. The network has the conditions conditions.GUIDANCE.

    Args:
      conditional: the denoiser of a network, by from_network, under its condition; of one time or of two.
      scale: the guidance scale, a number or one per sample, from 1 (no guidance) to the largest of training.
      interval: (low, high), the range of t in which there is guidance.

    Raises:
      ValueError: a denoiser of something else.
    """
    if not isinstance(conditional, NetworkDenoiser):
        raise ValueError(f"embedded guidance is of a denoiser by from_network, got {type(conditional).__name__}")
    return _Embedded(conditional, scale, interval)


def _std(x: Sample) -> Float[jax.Array, " batch"]:
    return x.reshape(x.shape[0], -1).std(axis=1)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True, eq=False)
class _GuidedNetwork:
    """A network denoiser of several times the batch, the scales and the guidance interval of guided_network."""

    network: Denoiser
    scales: tuple[Numeric, ...]
    interval: tuple[Numeric, Numeric]

    def __call__(self, x_t: Sample, t: Numeric) -> Prediction:
        parts, batch = len(self.scales) + 1, x_t.shape[0]
        all_t = t if jnp.ndim(t) == 0 else jnp.concatenate([t] * parts)
        together = self.network(jnp.concatenate([x_t] * parts), all_t)

        def part(number: int) -> Prediction:
            return jax.tree.map(lambda leaf: leaf[number * batch : (number + 1) * batch], together)

        *towards, base = map(part, range(parts))
        return _extrapolate(towards, base, self.scales, self.interval, x_t, t)


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
    others: Sequence[tuple[Any, Numeric]] = (),
    interval: tuple[Numeric, Numeric] = (0.0, 1.0),
) -> Denoiser:
    """Classifier-free guidance or composition of one network, evaluated in a single call with a larger batch.

    The first part of the batch has the condition, the last part the null condition. The other arguments are those of
    from_network.

    Args:
      condition, null_condition: pytrees of the same structure and shapes, with a batch axis. In place of the null
        condition any other may stand, from which guidance leads away: a negative prompt.
      scale: the guidance scale, as in classifier_free.
      others: (condition, scale) of further conditions to compose it with, as in composed.
      interval: (low, high), the range of t in which guidance is applied.
    """
    parts = [condition, *(other for other, _ in others), null_condition]
    together = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    network = from_network(apply_fn, params, schedule, parameterization, time_input=time_input, condition=together)
    return _GuidedNetwork(network, (scale, *(other_scale for _, other_scale in others)), interval)


def _check_scales(num: int, scales: Sequence[Numeric]) -> None:
    if num < 1 or num != len(scales):
        raise ValueError(f"composition needs one scale for each of its conditions, got {len(scales)} for {num}")


def _extrapolate(
    conditionals: Sequence[Prediction],
    unconditional: Prediction,
    scales: Sequence[Numeric],
    interval: tuple[Numeric, Numeric],
    x_t: Sample,
    t: Numeric,
) -> Prediction:
    """unconditional + sum_i scale_i (conditional_i - unconditional); a learned variance is the first condition's."""
    low, high = interval
    inside = (jnp.asarray(t) >= low) & (jnp.asarray(t) <= high)
    x_0, eps = unconditional[:2]
    for towards, scale in zip(conditionals, scales, strict=True):
        weight = arrays.expand_to(jnp.where(inside, jnp.asarray(scale, x_t.dtype), 1 / len(scales)), x_t)
        x_0 = x_0 + weight * (towards.x_0 - unconditional.x_0)
        eps = eps + weight * (towards.eps - unconditional.eps)
    return Prediction(x_0, eps, conditionals[0].log_variance_fraction)
