"""What the official files of a dataset hold, and where they are."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from diffax.data.download import Remote


class Split(NamedTuple):
    """Images and, in columns, their labels; the last column is the class."""

    images: UInt8[np.ndarray, "n height width channels"]
    labels: Int32[np.ndarray, "n num_labels"]


class Archive(NamedTuple):
    """version: TFDS's. read: a folder with the files to (splits by name, names of the classes).

    label_keys: what TFDS calls the columns of labels. shape: of an image.
    """

    version: str
    remotes: tuple[Remote, ...]
    read: Callable[[pathlib.Path], tuple[dict[str, Split], Sequence[str]]]
    label_keys: tuple[str, ...]
    shape: tuple[int, int, int]
