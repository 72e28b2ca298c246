"""The Frechet distance in a feature space as a loss of a generator of one evaluation (FD-loss, arXiv:2604.28190)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffax import processes
from diffax.losses._loss import PerSample, Predict, Sample, tells
from diffax.losses._one_step import Population, Representation, generated, one_step, span_told
from diffax.losses.weighting import Weighting
from diffax.processes.time_sampling import TimeDensity
from diffax.typing import Keys, Schedule


def gaussian_frechet_distance(
    mean: Float[jax.Array, " dim"],
    covariance: Float[jax.Array, "dim dim"],
    reference_mean: Float[jax.Array, " dim"],
    reference_root: Float[jax.Array, "dim rank"],
) -> Float[jax.Array, ""]:
    """The squared Frechet distance of two Gaussians: |m - r|^2 + trace(C + R - 2 (C R)^1/2), differentiable in m and C.

    The trace of (C R)^1/2 is the sum of the roots of the eigenvalues of F^T C F, where R = F F^T. Singular covariances
    are allowed: directions that R lacks drop out, and eigenvalues of 0 to rounding, whose root has no derivative, count
    in the value but not in the gradient.

    reference_root: the factor F of R.
    """
    highest = jax.lax.Precision.HIGHEST
    inner = reference_root.T @ jnp.matmul(covariance, reference_root, precision=highest)
    values = jnp.linalg.eigvalsh((inner + inner.T) / 2)
    is_positive = values > len(values) * jnp.finfo(values.dtype).eps * jnp.max(values)
    roots = jnp.where(
        is_positive,
        jnp.sqrt(jnp.where(is_positive, values, 1)),
        jnp.sqrt(jnp.maximum(jax.lax.stop_gradient(values), 0)),
    )
    difference = mean - reference_mean
    return difference @ difference + jnp.trace(covariance) + jnp.sum(reference_root**2) - 2 * roots.sum()


@one_step(moments=True)
@tells(span_told)
def frechet_distance(
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
    decay: float = 0.999,
    two_times: bool = False,
) -> PerSample | tuple[PerSample, Population]:
    """The Frechet distance of generated samples from the data in a feature space (FD-loss, arXiv:2604.28190).

    The moments are those of a population much larger than a batch: exponential moving averages over the batches of
    training, through whose latest one the gradient passes. Data enter by their moments alone; of x_0 only the shape is
    used. The loss is one number, the same for every example of a batch.

    Args: as losses.denoising, but for `weighting`, `time_density` and `t`, which have no part in it; and
      representation: the features, the moments of the data there and the population so far; without a population the
        distance is that of the batch by itself, which is far too large for batches smaller than the features' number.
      decay: of the moving averages; the population has about 2 / (1 - decay) batches. The paper's is 0.999 for batches
        of 1,024.
      two_times: the generator is a network of two times, such as MeanFlow trains, from 1 to 0.

    Returns:
      (batch,), in squared units of the features; with it the next population, where there is one.

    Raises:
      ValueError: no representation, a batch of one, or a decay that is not from 0 to below 1.
    """
    if representation is None or representation.mean is None or representation.root is None:
        raise ValueError("loss 'frechet_distance' needs a representation with the moments of the data")
    if not 0 <= decay < 1:
        raise ValueError(f"loss.decay must be from 0 to below 1, got {decay:g}")
    if len(x_0) < 2:
        raise ValueError("loss 'frechet_distance' needs batches of 2 examples at least, got 1")
    samples = generated(keys, predict, schedule, parameterization, x_0, eps, two_times=two_times)
    values = representation.features(samples)
    before = representation.population
    start: Any = representation.init_population() if before is None else before
    population = start.updated(values, decay)
    distance = gaussian_frechet_distance(
        population.mean, population.unbiased_covariance, representation.mean, representation.root
    )
    each = jnp.broadcast_to(distance, x_0.shape[:1])
    return each if before is None else (each, jax.lax.stop_gradient(population))
