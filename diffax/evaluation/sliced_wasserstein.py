"""The sliced Wasserstein distance between two sets of points."""

import numpy as np
from jaxtyping import Float


def distance(
    a: Float[np.ndarray, "n dim"], b: Float[np.ndarray, "m dim"], *, num_directions: int = 512, seed: int = 0
) -> float:
    """Root mean square over random directions of the 2-Wasserstein distance between the projections (1304.7184, 2.2).

    On a line, the distance of two sets of equal size pairs them in order. In the units of the points.

    Raises:
      ValueError: sets of different shapes.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(f"expected two sets of the same shape (n, dim), got {a.shape} and {b.shape}")
    directions = np.random.default_rng(seed).standard_normal((a.shape[1], num_directions))
    directions /= np.linalg.norm(directions, axis=0)
    difference = np.sort(a @ directions, axis=0) - np.sort(b @ directions, axis=0)
    return float(np.sqrt(np.mean(difference**2)))
