"""Density and coverage: fidelity and variety of generated samples by the reference's k-nearest-neighbour balls."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks, _pairwise


class DensityCoverage(NamedTuple):
    """Density, about 1 for equal distributions and possibly more, and coverage, a share from 0 to 1."""

    density: float
    coverage: float


def density_coverage(
    generated: Float[np.ndarray, "n dim"], reference: Float[np.ndarray, "m dim"], *, k: int = 5
) -> DensityCoverage:
    """Density and coverage (arXiv:2002.09797, eq. 3 and 4).

    Each reference sample has a ball that reaches to its k-th nearest other reference sample. Density is the mean number
    of balls that a generated sample is in, divided by k. Coverage is the share of balls that hold a generated sample.
    Unlike recall, neither depends on balls around generated samples, which outliers make large. A point on a sphere is
    inside.

    Raises:
      ValueError: fewer than k + 1 reference samples, different dimensions, or features that are not finite.
    """
    _checks.at_least("k", k, 1)
    generated, reference = _checks.pair(generated, reference)
    reference = _checks.features(reference, name="reference features", least=k + 1)
    centre = _pairwise.mean(reference)
    radii = _pairwise.neighbour_distances(reference, k, centre=centre) * _pairwise.TIE
    num_inside, covered = 0, np.zeros(len(reference), bool)
    for _, columns, squared in _pairwise.squared_distances(generated, reference, centre=centre):
        inside = squared <= radii[columns]
        num_inside += int(inside.sum())
        covered[columns] |= inside.any(axis=0)
    return DensityCoverage(num_inside / (k * len(generated)), float(covered.mean()))
