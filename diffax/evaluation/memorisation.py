"""Memorisation: how many generated samples lie closer to a training example than other training examples do."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffax.evaluation import _checks, _pairwise


class Memorisation(NamedTuple):
    """Shares from 0 to 1: of the generated samples, and of held-out real samples, that count as memorised."""

    generated: float
    held_out: float


def shares(
    generated: Float[np.ndarray, "n dim"],
    training: Float[np.ndarray, "m dim"],
    *,
    held_out: Float[np.ndarray, "h dim"],
) -> Memorisation:
    """The share of samples nearer to a training example than that example's own nearest neighbour in the training set.

    A copy of a training example counts, also of one that stands in the training set twice. Samples of the data's own
    distribution are often that near by chance, 3 in 4 of them in one dimension: compare with the share of the held-out
    examples, which nobody memorised, beside it.

    Raises:
      ValueError: fewer than 2 training examples, an empty set, different dimensions, or features that are not finite.
    """
    generated, training = _checks.pair(generated, training)
    training = _checks.features(training, name="training features", least=2)
    held_out = _checks.features(held_out, name="held-out features")
    _checks.same_dim(held_out.shape[1], training.shape[1])
    centre = _pairwise.mean(training)
    radii = _pairwise.neighbour_distances(training, 1, centre=centre)
    return Memorisation(*(_share(samples, training, radii, centre) for samples in (generated, held_out)))


def _share(samples: np.ndarray, training: np.ndarray, radii: np.ndarray, centre: np.ndarray) -> float:
    memorised = np.zeros(len(samples), bool)
    for rows, columns, squared in _pairwise.squared_distances(samples, training, centre=centre):
        memorised[rows] |= ((squared * _pairwise.TIE < radii[columns]) | (squared == 0)).any(axis=1)
    return float(memorised.mean())
