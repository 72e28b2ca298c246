"""Descriptions of datasets that are downloaded as official files: their URLs, checksums, layout and labels."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from diffax.data.download import Remote


class Split(NamedTuple):
    """Decoded images of one split and their labels; the last column of the labels is the class."""

    images: UInt8[np.ndarray, "n height width channels"]
    labels: Int32[np.ndarray, "n num_labels"]


class Archive(NamedTuple):
    """A dataset in its official files.

    version: the version that TFDS gives the dataset.
    remotes: the files to download.
    read: reads a folder with these files into (splits by name, names of the classes).
    label_keys: the TFDS feature names of the columns of labels.
    shape: (height, width, channels) of an image.
    """

    version: str
    remotes: tuple[Remote, ...]
    read: Callable[[pathlib.Path], tuple[dict[str, Split], Sequence[str]]]
    label_keys: tuple[str, ...]
    shape: tuple[int, int, int]
