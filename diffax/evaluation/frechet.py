"""The Frechet distance between two sets of features, each fitted by a Gaussian; on Inception features it is the FID."""

import warnings

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks
from diffax.evaluation.moments import Moments
from diffax.evaluation.uncertainty import Estimate


def distance(generated: Moments, reference: Moments) -> float:
    """The squared Frechet distance of two Gaussians: |mean_g - mean_r|^2 + trace(G + R - 2 (G R)^1/2).

    G and R are the unbiased covariances. FID uses the same formula (arXiv:1706.08500, eq. 6). The trace of (G R)^1/2 is
    the sum of the square roots of the eigenvalues of R^1/2 G R^1/2. That matrix is symmetric, so that no complex matrix
    root is needed and singular covariances are allowed. Never negative, and exactly 0 for equal moments.

    The distance is biased upwards by finite samples, about as 1 / n (arXiv:1911.07023): compare only distances of
    equally many samples, or extrapolate them (`extrapolated`). A UserWarning is given if a set has no more samples than
    the features have dimensions, or if all its samples have the same features.

    Raises:
      ValueError: features of different dimensions, fewer than 2 samples in a set, or a covariance that overflows.
    """
    _checks.same_dim(len(generated.mean), len(reference.mean))
    for what, moments in (("generated", generated), ("reference", reference)):
        _warn_of_bias(what, moments.count, len(moments.mean))
        if moments.is_constant:
            _checks.warn_of_constant(what, moments.count)
    covariance = _covariance(reference)
    if np.array_equal(generated.mean, reference.mean) and np.array_equal(_covariance(generated), covariance):
        return 0.0  # the root's rounding errors alone would be about 1e-6 of the trace
    return max(0.0, _distance(generated, reference, root(covariance)))


def distance_between(generated: Float[np.ndarray, "n *dims"], reference: Float[np.ndarray, "m *dims"]) -> float:
    """The Frechet distance between two sets of samples, with their flattened values as features.

    Raises:
      ValueError: what `distance` refuses, or samples that are not finite.
    """
    flat = (samples.reshape(len(samples), -1) for samples in map(np.asarray, (generated, reference)))
    return distance(*(Moments.of(features) for features in flat))


def extrapolated(
    generated: Float[np.ndarray, "n dim"],
    reference: Moments,
    *,
    seed: int,
    num_points: int = 15,
    smallest: int | None = None,
) -> Estimate:
    """The Frechet distance extrapolated to infinitely many generated samples; on Inception features it is FID-infinity.

    arXiv:1911.07023, section 4: distances of `num_points` random subsets, of sizes evenly spaced from `smallest` to all
    samples, are fitted by a straight line in 1 / n, whose value at 1 / n = 0 is the estimate. The paper takes 15 points
    from 5,000 to 50,000. The reference keeps its own bias, as there. The result may be slightly negative.

    The standard error is that of the least-squares intercept. Subsets overlap, so that it does not contain the sampling
    error of the whole generated set: see uncertainty.of_repeats for that.

    Args:
      seed: of the subsets, which are drawn without replacement.
      smallest: size of the smallest subset; by default a tenth of the samples, or as many as there are dimensions plus
        one where that is more and at most half of the samples. Sizes below the dimension do not follow 1 / n.

    Raises:
      ValueError: what `distance` refuses, fewer than 3 points, or a smallest subset that is not below all samples.
    """
    from scipy import stats

    generated = _checks.features(generated, name="generated features", least=3)
    n, dim = generated.shape
    _checks.same_dim(dim, len(reference.mean))
    _checks.at_least("num_points", num_points, 3)
    if smallest is None:
        smallest = max(2, n // 10, min(dim + 1, n // 2))
    if not 2 <= smallest < n:
        raise ValueError(f"the smallest subset must have from 2 to {n - 1} of the {n} samples, got {smallest}")
    _warn_of_bias("generated", smallest, dim)
    _warn_of_bias("reference", reference.count, dim)
    rng, factor = np.random.default_rng(seed), root(_covariance(reference))
    sizes = np.linspace(smallest, n, num_points).astype(int)
    subsets = (generated[rng.choice(n, size, replace=False)] for size in sizes)
    distances = [_distance(Moments.of(subset), reference, factor) for subset in subsets]
    fit = stats.linregress(1 / sizes, distances)
    return Estimate(float(fit.intercept), float(fit.intercept_stderr))


def ratio(generated: Moments, held_out: Moments, reference: Moments) -> float:
    """The generated samples' distance to the reference, divided by that of as many held-out real samples.

    1 is as good as data. The bias of a finite sample is in both distances.

    Raises:
      ValueError: what `distance` refuses, different numbers of generated and held-out samples, or held-out samples
        whose own distance is 0.
    """
    if generated.count != held_out.count:
        raise ValueError(
            "the bias of a distance depends on the number of samples: expected as many held-out as generated ones, got "
            f"{held_out.count} and {generated.count}"
        )
    own = distance(held_out, reference)
    if own == 0:
        raise ValueError("the held-out samples have distance 0 from the reference: are they the reference set itself?")
    return distance(generated, reference) / own


def _covariance(moments: Moments) -> np.ndarray:
    covariance = moments.covariance
    if not np.isfinite(covariance).all():
        raise ValueError("the covariance of the features overflows float64: scale the features down")
    return covariance


def root(covariance: Float[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim rank"]:
    """The factor F of covariance = F F^T, (dim, rank): eigenvectors times roots of the eigenvalues above rounding."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0)
    return vectors[:, kept] * np.sqrt(values[kept])


def _distance(generated: Moments, reference: Moments, root: np.ndarray) -> float:
    covariance = _covariance(generated)
    inner = np.linalg.eigvalsh(root.T @ covariance @ root)
    difference = generated.mean - reference.mean
    trace = np.trace(covariance) + np.trace(reference.covariance) - 2 * np.sqrt(np.maximum(inner, 0)).sum()
    return float(difference @ difference + trace)


def _warn_of_bias(what: str, count: int, dim: int) -> None:
    if count <= dim:
        warnings.warn(
            f"{count} {what} samples are too few for {dim} features: the covariance is singular, and the Frechet "
            "distance is biased upwards. Take a multiple of the dimension, or fewer features",
            UserWarning,
            stacklevel=3,
        )
