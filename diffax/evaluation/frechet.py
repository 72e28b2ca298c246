"""The Frechet distance between two sets of features, each fitted by a Gaussian; on Inception features it is the FID."""

import numpy as np
from jaxtyping import Float


def moments(features: Float[np.ndarray, "n dim"]) -> tuple[Float[np.ndarray, " dim"], Float[np.ndarray, "dim dim"]]:
    """The mean and the unbiased covariance of features, in float64.

    Raises:
      ValueError: another shape, or fewer than 2 samples.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must have shape (n >= 2, dim), got {features.shape}")
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
    needed and singular covariances are allowed.
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ covariance_b @ root)
    difference = mean_a - mean_b
    trace = np.trace(covariance_a) + np.trace(covariance_b) - 2 * np.sqrt(np.maximum(inner, 0)).sum()
    return float(difference @ difference + trace)


def distance_between(a: Float[np.ndarray, "n *dims"], b: Float[np.ndarray, "m *dims"]) -> float:
    """The Frechet distance between two sets of samples, with their flattened values as features."""
    return distance(*moments(a.reshape(len(a), -1)), *moments(b.reshape(len(b), -1)))
