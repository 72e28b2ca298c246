"""Label agreement: how often a classifier reads a generated sample as the class that it was conditioned on."""

import numpy as np
from jaxtyping import Integer, Num

from diffax.evaluation import _checks
from diffax.evaluation.uncertainty import Estimate


def share(predicted: Num[np.ndarray, "n *classes"], labels: Integer[np.ndarray, " n"]) -> Estimate:
    """The share of samples whose predicted class is their label, with its binomial standard error.

    Args:
      predicted: a classifier's classes (n,), or its probabilities or logits (n, classes), of which the largest counts.
      labels: the classes that the samples were conditioned on.

    Raises:
      ValueError: no sample, other shapes, labels outside of the classes, or predictions that are not finite.
    """
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if labels.ndim != 1 or len(labels) < 1 or predicted.ndim not in (1, 2) or len(predicted) != len(labels):
        raise ValueError(
            f"expected predictions (n,) or (n, classes) and labels (n,), got {predicted.shape} and {labels.shape}"
        )
    if predicted.ndim == 2:
        num_classes = predicted.shape[1]
        if not ((labels >= 0) & (labels < num_classes)).all():
            raise ValueError(
                f"labels must be from 0 to {num_classes - 1}, the classes predicted, got {labels.min()} to "
                f"{labels.max()}"
            )
        predicted = _checks.features(predicted, name="predictions").argmax(axis=1)
    elif predicted.dtype.kind not in "iu":
        raise ValueError(f"predicted classes must be integers, got {predicted.dtype}")
    value = float(np.mean(predicted == labels))
    return Estimate(value, float(np.sqrt(value * (1 - value) / len(labels))))
