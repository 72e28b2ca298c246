"""The sliced Wasserstein distance between two sets of points, a Monte Carlo average over 1-D projections."""

import numpy as np
from jaxtyping import Float


def distance(
    a: Float[np.ndarray, "n dim"], b: Float[np.ndarray, "m dim"], *, num_directions: int = 512, seed: int = 0
) -> float:
    """The sliced 2-Wasserstein distance: root mean square over random directions of the distance between projections.

    arXiv:1304.7184, section 2.2. In one dimension the optimal transport between two sets of equal size pairs the sorted
    points. The distance is in the units of the points.

    Args:
      num_directions: the number of random directions, drawn uniformly with `seed`.

    Raises:
      ValueError: sets of different shapes, or points that are not finite.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"expected two sets of the same shape (n, dim), got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("the points of a set are not all finite (NaN or infinite)")
    directions = np.random.default_rng(seed).standard_normal((a.shape[1], num_directions))
    directions /= np.linalg.norm(directions, axis=0)
    difference = np.sort(a @ directions, axis=0) - np.sort(b @ directions, axis=0)
    return float(np.sqrt(np.mean(difference**2)))
