"""Raw values as features: for small images and for points, where no network is needed."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Float, Shaped

from diffax.evaluation.features.extractor import Features, SampleFeatures


@dataclasses.dataclass(frozen=True)
class Pixels:
    """An extractor of the flattened values of images, as x / 127.5 - 1, or of points, unchanged."""

    name: str = "pixels"
    preprocessing: str = "uint8 images as x / 127.5 - 1, points unchanged, flattened; no resize"
    checksum: str = ""

    def __call__(self, examples: Shaped[np.ndarray, "n *dims"]) -> Features:
        """The values of uint8 images (n, height, width, channels) or of float points (n, *dims).

        Raises:
          ValueError: no examples, or other shapes or dtypes.
        """
        examples = np.asarray(examples)
        if examples.ndim < 2 or not examples.size:
            raise ValueError(f"pixels needs examples of shape (n, *dims), got shape {examples.shape}")
        if np.issubdtype(examples.dtype, np.floating):
            values = examples.astype(np.float32)
        elif examples.dtype == np.uint8:
            values = examples.astype(np.float32) / np.float32(127.5) - np.float32(1)
        else:
            raise ValueError(f"pixels needs uint8 images or float points, got {examples.dtype}")
        return Features(values.reshape(len(values), -1), None)

    @property
    def of_samples(self) -> SampleFeatures:
        """The flattened values of samples in the network's range."""
        return SampleFeatures((), _flat)


def _flat(params: tuple[()], x: Float[jax.Array, "batch *dims"]) -> Float[jax.Array, "batch dim"]:
    return x.reshape(len(x), -1)


def pixels() -> Pixels:
    """The extractor of raw values; it has no options."""
    return Pixels()
