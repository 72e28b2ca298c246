"""Diversity within classes: how far apart samples of one class are, relative to real examples of that class."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from diffax.evaluation import _checks, _pairwise


class Diversity(NamedTuple):
    """Ratios of mean pairwise distances, generated to reference: their mean over classes, and one per class."""

    mean: float
    by_class: dict[int, float]


def within_classes(
    generated: Float[np.ndarray, "n dim"],
    reference: Float[np.ndarray, "m dim"],
    *,
    generated_labels: Integer[np.ndarray, " n"],
    reference_labels: Integer[np.ndarray, " m"],
) -> Diversity:
    """The mean Euclidean distance between two samples of a class, relative to that of real examples of the class.

    About 1 for a model as varied as the data; near 0 where samples of a class are all alike, as under strong guidance.
    Over the classes of the generated samples.

    Raises:
      ValueError: a class of the generated samples with fewer than 2 samples in either set or with real examples that
        are all the same, labels of another number than samples, different dimensions, or features that are not finite.
    """
    generated, reference = _checks.pair(generated, reference)
    sets = []
    for what, samples, labels in (
        ("generated", generated, np.asarray(generated_labels)),
        ("reference", reference, np.asarray(reference_labels)),
    ):
        if labels.shape != (len(samples),):
            raise ValueError(f"expected {len(samples)} {what} labels, one per sample, got shape {labels.shape}")
        sets.append((what, samples, labels))
    ratios = {int(label): _ratio(int(label), sets) for label in np.unique(sets[0][2])}
    return Diversity(float(np.mean(list(ratios.values()))), ratios)


def _ratio(label: int, sets: list[tuple[str, np.ndarray, np.ndarray]]) -> float:
    distances = []
    for what, samples, labels in sets:
        chosen = samples[labels == label]
        if len(chosen) < 2:
            raise ValueError(f"class {label} has {len(chosen)} {what} samples: a distance needs at least 2")
        distances.append(_pairwise.mean_distance_within(chosen))
    if distances[1] == 0:
        raise ValueError(
            f"the reference samples of class {label} are all the same: there is no diversity to compare with"
        )
    return distances[0] / distances[1]
