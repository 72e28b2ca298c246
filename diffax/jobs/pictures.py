"""Samples as a picture: a grid of images, or points beside real ones."""

import os

import numpy as np

from diffax import build
from diffax.data.dataset import Dataset
from diffax.reporting import images, plots


def save(path: str | os.PathLike, samples: np.ndarray, dataset: build.Examples) -> None:
    """Writes samples of a dataset's kind as one PNG file."""
    if isinstance(dataset, Dataset) and dataset.num_levels is None:
        plots.scatter(path, samples, dataset.examples[: len(samples)])
    else:
        images.save_png(path, samples)
