"""Drifting models: a generator of one evaluation whose samples are drawn to data and repel each other."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from diffax import processes
from diffax.losses._loss import PerSample, Predict, Sample, tells
from diffax.losses._one_step import Representation, Values, generated, one_step, span_told
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Keys, Schedule

Weights = Float[jax.Array, "n m"]
# Of a field's root mean square, below which it is not scaled up to 1.
_SMALLEST = 1e-4


def drifting_field(
    x: Values,
    positives: Float[jax.Array, "p dim"],
    negatives: Float[jax.Array, "m dim"],
    *,
    temperature: float | jax.Array,
    positive_weights: Float[jax.Array, "n p"] | None = None,
    negative_weights: Float[jax.Array, "n m"] | None = None,
) -> Values:
    """The drifting field V of points x: attraction to positives and repulsion by negatives (arXiv:2602.04770, eq. 11).

    With the kernel k(x, y) = exp(-|x - y| / temperature), divided by the geometric mean of its sums over all positives
    and negatives of a point and over all points of a positive or negative, A = k / sqrt(row sum * column sum), it is

        V(x_i) = sum_jk w_ij A_ij w_ik A_ik (y+_j - y-_k).

    Exchanging positives and negatives changes its sign, so that it vanishes where the two are the same.

    Args:
      temperature: in units of distances.
      positive_weights, negative_weights: w_ij >= 0 of what acts on x_i, 1 unless given; with 0 it does not act at all,
        and is not in the sums either.
    """
    of_positives, of_negatives = (
        jnp.ones((len(x), len(y)), x.dtype) if given is None else given
        for y, given in ((positives, positive_weights), (negatives, negative_weights))
    )
    distances = _distances(x, positives, negatives)
    return _field(distances, positives, negatives, of_positives, of_negatives, temperature)


@one_step()
@tells(span_told)
def drifting(
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
    representation: Representation | None = None,
    labels: Int[jax.Array, " batch"] | None = None,
    temperatures: Sequence[float] = (0.02, 0.05, 0.2),
    normalised: bool = True,
    guidance: float = 1.0,
    two_times: bool = False,
) -> PerSample:
    """The drifting loss (arXiv:2602.04770, eq. 6) of a generator of one evaluation: |x - sg(x + V)|^2 in features.

    x are the features of the samples that the network generates of a batch's noise, and V their drifting field, with
    the batch's data as positives and the other samples as negatives. So the target of a sample depends on the whole
    batch. Coordinates are scaled so that the mean distance is sqrt(dim) (the paper's feature normalisation). Of a
    network with classes, data and samples of the same class act on each other.

    Args: as losses.denoising, but for `weighting`, `time_density` and `t`, which have no part in it; and
      representation: the features; None for the samples themselves.
      labels: the class of every example, where the network is told it.
      temperatures: of the kernel, in units of the mean distance; their fields are added.
      normalised: scales the field of every temperature to a root mean square of 1 (the paper's drift normalisation).
        The loss then shows no progress; without it, it is the mean square of V, which vanishes in equilibrium.
      guidance: the scale of classifier-free guidance that is trained in, 1 for none: all data of the batch are
        negatives too, weighted so that they are a share 1 - 1 / guidance of these (appendix A.7).
      two_times: the generator is a network of two times, such as MeanFlow trains, from 1 to 0.

    Returns:
      (batch,), in squared units of the scaled coordinates.

    Raises:
      ValueError: a guidance scale below 1, or one of a network without classes; no temperature, or one that is not > 0.
    """
    if guidance < 1 or (guidance != 1 and labels is None):
        needs = "a scale >= 1" if guidance < 1 else "a network with classes (conditions.label)"
        raise ValueError(f"loss.guidance = {guidance:g} needs {needs}")
    if not temperatures or min(temperatures) <= 0:
        raise ValueError(f"loss.temperatures must be numbers > 0, got {tuple(temperatures)}")
    samples = generated(keys, predict, schedule, parameterization, x_0, eps, two_times=two_times)
    to_features = _flat if representation is None else representation.features
    x, data = to_features(samples), jax.lax.stop_gradient(to_features(x_0.astype(samples.dtype)))
    unit, drift = jax.lax.stop_gradient(_drift(x, data, labels, tuple(temperatures), normalised, guidance))
    scaled = x / unit
    return jnp.mean((scaled - jax.lax.stop_gradient(scaled + drift)) ** 2, axis=-1)


def _drift(
    x: Values,
    data: Values,
    labels: Int[jax.Array, " batch"] | None,
    temperatures: tuple[float, ...],
    normalised: bool,
    guidance: float,
) -> tuple[jax.Array, Values]:
    """The unit of length in which coordinates have a mean distance of sqrt(dim), and the field in it."""
    size, dim = x.shape
    together = jnp.ones((size, size), x.dtype) if labels is None else (labels[:, None] == labels[None]).astype(x.dtype)
    others, negatives = together * (1 - jnp.eye(size, dtype=x.dtype)), x
    if guidance != 1:
        weight = others.sum(axis=1, keepdims=True) * (guidance - 1) / size
        negatives = jnp.concatenate([x, data])
        others = jnp.concatenate([others, jnp.broadcast_to(weight, together.shape)], axis=1)
    distances, weights = _distances(x, data, negatives), jnp.concatenate([together, others], axis=1)
    mean = jnp.maximum((weights * distances).sum() / weights.sum(), jnp.finfo(x.dtype).tiny)
    unit, total = mean / dim**0.5, jnp.zeros_like(x)
    for temperature in temperatures:
        field = _field(distances, data, negatives, together, others, temperature * mean) / unit
        if normalised:
            field = field / jnp.maximum(jnp.sqrt(jnp.mean(field**2)), _SMALLEST)
        total = total + field
    return unit, total


def _field(
    distances: Float[jax.Array, "n all"],
    positives: Float[jax.Array, "p dim"],
    negatives: Float[jax.Array, "m dim"],
    positive_weights: Float[jax.Array, "n p"],
    negative_weights: Float[jax.Array, "n m"],
    temperature: float | jax.Array,
) -> Values:
    """The drifting field; distances: to the positives, then to the negatives."""
    weights = jnp.concatenate([positive_weights, negative_weights], axis=1)
    acts = weights > 0
    logits = jnp.where(acts, -distances / temperature, -jnp.inf)
    sums = jax.nn.logsumexp(logits, axis=1, keepdims=True) + jax.nn.logsumexp(logits, axis=0, keepdims=True)
    kernel = weights * jnp.where(acts, jnp.exp(logits - jnp.where(acts, sums, 0) / 2), 0)
    attraction, repulsion = jnp.split(kernel, [len(positives)], axis=1)
    towards = _product(attraction, positives) * repulsion.sum(axis=1, keepdims=True)
    return towards - _product(repulsion, negatives) * attraction.sum(axis=1, keepdims=True)


def _distances(x: Values, *others: Float[jax.Array, "_ dim"]) -> Float[jax.Array, "n all"]:
    y = jnp.concatenate(others)
    return jnp.sqrt(jnp.sum((x[:, None] - y[None]) ** 2, axis=-1))


def _product(a: Weights, b: Float[jax.Array, "m dim"]) -> Values:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _flat(x: Sample) -> Values:
    return x.reshape(len(x), -1)
