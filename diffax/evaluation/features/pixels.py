"""Raw values as features: for small images and for points, where no network is needed."""

import dataclasses

import numpy as np
from jaxtyping import Shaped

from diffax.evaluation.features.extractor import Features, checked_images


@dataclasses.dataclass(frozen=True)
class Pixels:
    """An extractor of the flattened values of images, as x / 127.5 - 1, or of points, unchanged."""

    name: str = "pixels"
    preprocessing: str = "uint8 images as x / 127.5 - 1, points unchanged, flattened; no resize"
    checksum: str = ""

    def __call__(self, examples: Shaped[np.ndarray, "n *dims"]) -> Features:
        """The values of uint8 images (n, height, width, 1 or 3) or of float points (n, *dims).

        Raises:
          ValueError: no examples, or other shapes or dtypes.
        """
        examples = np.asarray(examples)
        if np.issubdtype(examples.dtype, np.floating):
            if examples.ndim < 2 or not examples.size:
                raise ValueError(f"pixels needs points of shape (n, *dims), got shape {examples.shape}")
            values = examples.astype(np.float32)
        else:
            values = checked_images(self.name, examples).astype(np.float32) / np.float32(127.5) - np.float32(1)
        return Features(values.reshape(len(values), -1), None)


def pixels() -> Pixels:
    """The extractor of raw values; it has no options."""
    return Pixels()
