"""A dataset held in memory: examples, perhaps labels, and how examples become what a network sees."""

import dataclasses
from typing import final

import numpy as np
from jaxtyping import Float32, Shaped


@final
@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Examples in memory, either images or points.

    name: what reports call it.
    examples: uint8 images (n, height, width, channels) of values 0 .. num_levels - 1; or float32 points (n, *dims),
        already in the network's units.
    labels: int32 (n,), the class of each example, 0 .. num_classes - 1; or None.
    num_classes: the number of classes; None exactly when labels is.
    num_levels: how many values a pixel can take (256 for byte images, 17 for the digits); None for points.

    Nothing is checked here; `validate` checks everything.
    """

    name: str
    examples: np.ndarray
    labels: np.ndarray | None = None
    num_classes: int | None = None
    num_levels: int | None = None

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.examples.shape[1:]

    def to_network_range(self, examples: Shaped[np.ndarray, "batch *dims"]) -> Float32[np.ndarray, "batch *dims"]:
        """Examples of this dataset as a network sees them: images in [-1, 1], points as they are.

        An image of L levels becomes 2 x / (L - 1) - 1: x / 127.5 - 1 for bytes, x / 8 - 1 for the 17-level digits.
        """
        if self.num_levels is None:
            return examples.astype(np.float32, copy=False)
        return examples.astype(np.float32) / np.float32((self.num_levels - 1) / 2) - np.float32(1)

    def validate(self) -> "Dataset":
        """Returns self, or raises a one-line ValueError that names what is wrong and where."""
        if self.examples.ndim < 2 or len(self) == 0:
            raise ValueError(f"{self.name}: expected at least one example, (n, ...), got shape {self.examples.shape}")
        if self.examples.dtype == np.uint8:
            _check_images(self)
        elif self.examples.dtype == np.float32:
            _check_points(self)
        else:
            raise ValueError(f"{self.name}: examples must be uint8 images or float32, got {self.examples.dtype}")
        if self.labels is not None:
            _check_labels(self.name, len(self), self.labels, self.num_classes)
        elif self.num_classes is not None:
            raise ValueError(f"{self.name}: num_classes is {self.num_classes} but there are no labels")
        return self


def _check_images(dataset: Dataset) -> None:
    if dataset.examples.ndim != 4:
        raise ValueError(f"{dataset.name}: uint8 examples must be NHWC images, got shape {dataset.examples.shape}")
    if dataset.num_levels is None or not 2 <= dataset.num_levels <= 256:
        raise ValueError(f"{dataset.name}: uint8 examples need num_levels in 2..256, got {dataset.num_levels}")
    if (top := int(dataset.examples.max())) >= dataset.num_levels:
        raise ValueError(f"{dataset.name}: pixel value {top} is outside 0..{dataset.num_levels - 1}")


def _check_points(dataset: Dataset) -> None:
    if dataset.num_levels is not None:
        raise ValueError(f"{dataset.name}: num_levels is for uint8 images, got {dataset.num_levels} with float32")
    finite = np.isfinite(dataset.examples)
    if not finite.all():
        first = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{dataset.name}: examples must be finite, got {dataset.examples[first]} at index {first}")


def _check_labels(name: str, num_examples: int, labels: np.ndarray, num_classes: int | None) -> None:
    if labels.shape != (num_examples,):
        raise ValueError(f"{name}: expected {num_examples} labels, one per example, got shape {labels.shape}")
    if labels.dtype != np.int32:
        raise ValueError(f"{name}: labels must be int32, got {labels.dtype}")
    if num_classes is None or num_classes < 1:
        raise ValueError(f"{name}: labels need num_classes >= 1, got {num_classes}")
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        index = int(outside[0])
        raise ValueError(f"{name}: label {labels[index]} at index {index} is outside 0..{num_classes - 1}")
