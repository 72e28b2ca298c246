"""Squared Euclidean distances between the samples of two sets, block by block: never all pairs in memory at once."""

from collections.abc import Iterator

import numpy as np

from diffax.evaluation import _checks

# |a|^2 + |b|^2 - 2 a.b in float64 is wrong by at most about this share of |a|^2 + |b|^2. What is smaller is taken as 0,
# so that a sample has distance 0 from its copy, whichever blocks they are in.
_ROUNDING = 1e-12
# Equal distances computed in different blocks may differ by their last bits, and still have to compare as equal.
TIE = 1 + 1e-9


def squared_distances(
    a: np.ndarray, b: np.ndarray, *, centre: np.ndarray | None = None
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """(rows of a, rows of b, their squared distances (rows, rows) in float64), block by block.

    All blocks of a's first rows come first.

    centre: (dim,), subtracted from both sets, which keeps rounding errors small for features with a large mean; the
      mean of b unless given.
    """
    if centre is None:
        centre = mean(b)
    for rows_a in _checks.blocks(len(a)):
        block_a = a[rows_a] - centre
        norms_a = np.einsum("ij,ij->i", block_a, block_a)
        for rows_b in _checks.blocks(len(b)):
            block_b = b[rows_b] - centre
            norms = norms_a[:, None] + np.einsum("ij,ij->i", block_b, block_b)
            squared = norms - 2 * block_a @ block_b.T
            squared[squared <= _ROUNDING * norms] = 0
            yield rows_a, rows_b, squared


def mean(features: np.ndarray) -> np.ndarray:
    """The mean of features over samples, (dim,) in float64."""
    return features.mean(axis=0, dtype=np.float64)


def neighbour_distances(features: np.ndarray, k: int, *, centre: np.ndarray) -> np.ndarray:
    """The squared distance of every sample to its k-th nearest neighbour among the others, (n,)."""
    nearest = np.full((len(features), k), np.inf)
    for rows_a, rows_b, squared in squared_distances(features, features, centre=centre):
        if rows_a == rows_b:
            np.fill_diagonal(squared, np.inf)  # a sample is no neighbour of itself
        candidates = np.concatenate([nearest[rows_a], squared], axis=1)
        nearest[rows_a] = np.partition(candidates, k - 1, axis=1)[:, :k]
    return nearest.max(axis=1)


def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The mean Euclidean distance over all pairs of a sample of a and one of b."""
    total = sum(np.sqrt(squared).sum() for _, _, squared in squared_distances(a, b))
    return float(total / (len(a) * len(b)))


def mean_distance_within(features: np.ndarray) -> float:
    """The mean Euclidean distance over all pairs of different samples of one set of at least two."""
    n = len(features)
    return mean_distance(features, features) * n / (n - 1)
