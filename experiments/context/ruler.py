"""Measures whether pictures of digits are what was asked for: the digit by a classifier, attributes from the pixels."""

import dataclasses
from collections.abc import Callable

import numpy as np
from sklearn import svm

from diffax import data
from diffax.evaluation.features.classifier import classifier
from diffax.reporting import images
from experiments.context import captions


@dataclasses.dataclass(frozen=True)
class Ruler:
    """What measures samples of one data set.

    scale: the medians of the attributes, of the training images.
    max_level: the value of full ink in these images.
    digits: reads images (n, height, width, 1) in [-1, 1].
    accuracy: of that reading, on held-out images.
    """

    scale: captions.Scale
    max_level: int
    digits: Callable[[np.ndarray], np.ndarray]
    accuracy: float

    @classmethod
    def of_digits(cls) -> "Ruler":
        """For the digits of scikit-learn: an SVM reads them."""
        train, held_out = data.digits.load("train"), data.digits.load("test")

        def flat(dataset: data.dataset.Dataset) -> np.ndarray:
            return dataset.examples.reshape(len(dataset), -1) / 8 - 1

        reader = svm.SVC(gamma="scale", C=10.0).fit(flat(train), np.asarray(train.labels))
        return cls(
            captions.Scale.of(train.examples, np.asarray(train.labels)),
            16,
            lambda samples: reader.predict(samples.reshape(len(samples), -1)),
            reader.score(flat(held_out), np.asarray(held_out.labels)),
        )

    @classmethod
    def of_mnist(cls, path: str) -> "Ruler":
        """For MNIST: the small classifier of evaluation.features reads it."""
        train, held_out = (captions.padded_mnist(path, split) for split in ("train", "test"))
        extractor = classifier(train.examples, np.asarray(train.labels))

        def read(pixels: np.ndarray) -> np.ndarray:
            return np.argmax(extractor(pixels).probabilities, axis=1)

        return cls(
            captions.Scale.of(train.examples, np.asarray(train.labels)),
            255,
            lambda samples: read(images.to_uint8(samples)),
            float((read(held_out.examples) == np.asarray(held_out.labels)).mean()),
        )

    def agreement(self, samples: np.ndarray, digits: np.ndarray, sides: np.ndarray) -> dict[str, float]:
        """The share of samples with the digit, and with each attribute on its side of the median.

        samples: (n, height, width, 1) in [-1, 1]; digits: (n,); sides: (n, 3), -1 or 1.
        """
        ink = np.round((np.clip(samples, -1, 1) + 1) / 2 * self.max_level)
        right = self.scale.sides(ink, digits) == sides
        by_attribute = {name: float(right[:, i].mean()) for i, name in enumerate(captions.ATTRIBUTES)}
        return {"digit": float((self.digits(samples) == digits).mean()), **by_attribute}


def diversity(samples: np.ndarray) -> float:
    """The mean distance of two samples of the same prompt, (prompts, n, ...)."""
    flat = samples.reshape(*samples.shape[:2], -1)
    distances = np.linalg.norm(flat[:, :, None] - flat[:, None], axis=-1)
    n = flat.shape[1]
    return float(distances.sum((1, 2)).mean() / (n * (n - 1)))
