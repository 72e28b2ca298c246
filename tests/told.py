"""Data with conditions of every kind, some of them missing, and a network that is told them."""

from typing import ClassVar

import numpy as np

from diffax import data

NUM = 30
WORDS = ("red", "green", "blue", "far", "near")


def _columns(num, seed):
    rng = np.random.default_rng(seed)
    captions = [tuple(f"{rng.choice(WORDS)} point {row % 3}" for _ in range(1 + row % 3)) for row in range(num)]
    captions[4] = ()
    paths = [rng.standard_normal((1 + row % 4, 3)).astype(np.float32) for row in range(num)]
    places: list = list(rng.standard_normal((num, 2)).astype(np.float32))
    paths[2] = places[5] = None
    return {"caption": captions, "other": captions, "place": places, "path": paths}


def points(split):
    """Points of the plane in three classes, with texts, vectors and sequences."""
    num, seed = (NUM, 0) if split == "train" else (20, 1)
    x = np.random.default_rng(seed).standard_normal((num, 2)).astype(np.float32)
    labels = np.arange(num, dtype=np.int32) % 3
    columns = _columns(num, seed)
    return data.dataset.Dataset(name=f"told/{split}", examples=x, labels=labels, num_classes=3, columns=columns)


def images(split):
    """Images 4x4 with the same columns, and no labels."""
    num, seed = (NUM, 0) if split == "train" else (20, 1)
    x = np.random.default_rng(seed).integers(0, 256, (num, 4, 4, 1), dtype=np.uint8)
    return data.dataset.Dataset(name=f"told/{split}", examples=x, num_levels=256, columns=_columns(num, seed))


def brightness(x):
    """A condition that is computed from the examples: their mean and maximum."""
    return x.reshape(len(x), -1).astype(np.float32)[:, :1]


def side(x):
    """A condition that is computed from the examples: a class."""
    return (x.reshape(len(x), -1)[:, 0] > 0).astype(np.int64)


def not_finite(x):
    return np.where(np.arange(len(x)) == 3, np.nan, 1.0)[:, None]


class Deaf:
    """A network that takes no conditions."""

    conditions: ClassVar[dict] = {}

    def init(self, key, sample_shape):
        return {}

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        return x
