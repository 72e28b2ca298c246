"""The digits dataset of scikit-learn: 1,797 handwritten digits, 8x8 pixels, that need no download."""

import functools
import importlib.util
import pathlib

import numpy as np

from diffax.data import dataset

NUM_TRAIN = 1500
SPLITS = {"train": slice(None, NUM_TRAIN), "test": slice(NUM_TRAIN, None), "all": slice(None)}


def load(split: str = "train") -> dataset.Dataset:
    """Loads images (n, 8, 8, 1) of 17 grey levels, 0 .. 16, with labels 0 .. 9.

    The split 'train' is the first 1,500 images, 'test' the last 297, 'all' both. The images are the test set of
    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.

    Raises:
        ValueError: an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of digits, expected one of: {', '.join(SPLITS)}")
    table, rows = _table(), SPLITS[split]
    return dataset.Dataset(
        name=f"digits/{split}",
        examples=table[rows, :64].reshape(-1, 8, 8, 1).copy(),
        labels=table[rows, 64].astype(np.int32),
        num_classes=10,
        num_levels=17,
        class_names=tuple(map(str, range(10))),
    ).validate()


@functools.cache
def _table() -> np.ndarray:
    """uint8 (1797, 65): in each row the 64 pixels of an image and its label."""
    # The file is read without its package, which takes a second to import.
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.origin is not None, "scikit-learn is installed with diffax"
    return np.loadtxt(
        pathlib.Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.uint8
    )
