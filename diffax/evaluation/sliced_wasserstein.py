"""The sliced Wasserstein distance between two sets of points, a Monte Carlo average over 1-D projections."""

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks

_DIRECTIONS = 64  # projected at a time


def distance(
    generated: Float[np.ndarray, "n dim"],
    reference: Float[np.ndarray, "m dim"],
    *,
    num_directions: int = 512,
    seed: int = 0,
) -> float:
    """The sliced 2-Wasserstein distance: root mean square over random directions of the distance between projections.

    arXiv:1304.7184, section 2.2. In one dimension the optimal transport pairs equal quantiles: the sorted points of two
    sets of equal size, and parts of them where sizes differ. The distance is in the units of the points.

    Args:
      num_directions: the number of random directions, drawn uniformly with `seed`.

    Raises:
      ValueError: an empty set, different dimensions, or points that are not finite.
    """
    generated, reference = _checks.pair(generated, reference)
    _checks.at_least("num_directions", num_directions, 1)
    generated, reference = generated.astype(np.float64), reference.astype(np.float64)
    directions = np.random.default_rng(seed).standard_normal((generated.shape[1], num_directions))
    directions /= np.linalg.norm(directions, axis=0)
    n, m = len(generated), len(reference)
    # In units of 1 / (n m), where the quantile functions of the two sets have their steps.
    edges = np.union1d(np.arange(n + 1) * m, np.arange(m + 1) * n)
    masses = np.diff(edges) / (n * m)
    total = 0.0
    for some in _checks.blocks(num_directions, _DIRECTIONS):
        quantiles_g = np.sort(generated @ directions[:, some], axis=0)[edges[:-1] // m]
        quantiles_r = np.sort(reference @ directions[:, some], axis=0)[edges[:-1] // n]
        total += (masses @ (quantiles_g - quantiles_r) ** 2).sum()
    return float(np.sqrt(total / num_directions))
