"""Improved precision and recall: fidelity and variety of generated samples by k-nearest-neighbour manifolds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks, _pairwise


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1: of generated samples on the reference manifold, of reference samples on the generated one."""

    precision: float
    recall: float


def precision_recall(
    generated: Float[np.ndarray, "n dim"], reference: Float[np.ndarray, "m dim"], *, k: int = 3
) -> PrecisionRecall:
    """Improved precision and recall (arXiv:1904.06991, eq. 1 and 2).

    The manifold of a set is the union of balls around its samples, each with the distance to the k-th nearest other
    sample as its radius. A point on a sphere is inside.

    Raises:
      ValueError: a set without k + 1 samples, different dimensions, or features that are not finite.
    """
    _checks.at_least("k", k, 1)
    generated, reference = _checks.pair(generated, reference, least=k + 1)
    centre = _pairwise.mean(reference)
    generated_radii = _pairwise.neighbour_distances(generated, k, centre=centre) * _pairwise.TIE
    reference_radii = _pairwise.neighbour_distances(reference, k, centre=centre) * _pairwise.TIE
    on_reference, on_generated = np.zeros(len(generated), bool), np.zeros(len(reference), bool)
    for rows, columns, squared in _pairwise.squared_distances(generated, reference, centre=centre):
        on_reference[rows] |= (squared <= reference_radii[columns]).any(axis=1)
        on_generated[columns] |= (squared <= generated_radii[rows, None]).any(axis=0)
    return PrecisionRecall(float(on_reference.mean()), float(on_generated.mean()))
