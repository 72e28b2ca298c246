"""The Frechet distance between two sets of features, each fitted by a Gaussian; on Inception features it is the FID."""

import numpy as np
from jaxtyping import Float


def moments(features: Float[np.ndarray, "n dim"]) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, "dim dim"]]:
    """The mean and the unbiased covariance of features, in float64.

    Raises:
      ValueError: another shape, fewer than 2 samples, or features that are not finite.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must have shape (n >= 2, dim), got {features.shape}")
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"features of {int((~finite).sum())} of {len(features)} samples are not finite (NaN or infinite): the "
            f"first is number {int(np.argmin(finite))}"
        )
    return features.mean(axis=0), np.cov(features, rowvar=False).reshape(features.shape[1], -1)


def distance(
    mean_a: Float[np.ndarray, " dim"],
    covariance_a: Float[np.ndarray, "dim dim"],
    mean_b: Float[np.ndarray, " dim"],
    covariance_b: Float[np.ndarray, "dim dim"],
) -> float:
    """The squared Frechet distance of two Gaussians: |mean_a - mean_b|^2 + trace(A + B - 2 (A B)^1/2).

    A and B are the covariances. FID uses the same formula (arXiv:1706.08500, eq. 6). The trace of (A B)^1/2 is the sum
    of the square roots of the eigenvalues of A^1/2 B A^1/2. That matrix is symmetric, so that no complex matrix root is
    needed and singular covariances are allowed. Never negative, and exactly 0 for equal Gaussians.
    """
    if np.array_equal(mean_a, mean_b) and np.array_equal(covariance_a, covariance_b):
        return 0.0  # the root's rounding errors alone would be about 1e-6 of the trace
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ covariance_b @ root)
    difference = mean_a - mean_b
    trace = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(np.maximum(inner, 0)).sum()
    return max(0.0, float(difference @ difference + trace))


def distance_between(a: Float[np.ndarray, "n *dims"], b: Float[np.ndarray, "m *dims"]) -> float:
    """The Frechet distance between two sets of samples, with their flattened values as features.

    Raises:
      ValueError: fewer than 2 samples in a set, or samples that are not finite.
    """
    return distance(*moments(a.reshape(len(a), -1)), *moments(b.reshape(len(b), -1)))
