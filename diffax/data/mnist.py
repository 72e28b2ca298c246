"""MNIST and Fashion-MNIST, read from the four official idx files."""

import pathlib

import numpy as np

from diffax.data import idx
from diffax.data.archive import Archive, Split
from diffax.data.download import Remote

_IMAGES_AND_LABELS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_CLOTHES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"


def read(folder: pathlib.Path) -> dict[str, Split]:
    """Reads the splits, by name, from a folder with the four files, gzipped (as published) or not.

    Raises:
      ValueError: a missing or damaged file, or images and labels whose shapes do not match.
    """
    splits = {}
    for split, names in _IMAGES_AND_LABELS.items():
        images, labels = (idx.read(_found(folder, name)) for name in names)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{folder}: expected images (n, height, width) and n labels of {split}, got shapes {images.shape} and "
                f"{labels.shape}"
            )
        splits[split] = Split(images[..., None], labels.astype(np.int32)[:, None])
    return splits


def _found(folder: pathlib.Path, name: str) -> pathlib.Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise ValueError(f"{folder}: expected {name}.gz in it, one of the four files of MNIST's format")


def _archive(url: str, class_names: str, *files: tuple[str, int, str]) -> Archive:
    remotes = tuple(Remote(f"{url}{name}.gz", size, sha256) for name, size, sha256 in files)
    return Archive("3.0.1", remotes, lambda folder: (read(folder), class_names.split(",")), ("label",), (28, 28, 1))


MNIST = _archive(
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "0,1,2,3,4,5,6,7,8,9",
    ("train-images-idx3-ubyte", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    ("train-labels-idx1-ubyte", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ("t10k-images-idx3-ubyte", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    ("t10k-labels-idx1-ubyte", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
)
FASHION_MNIST = _archive(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    _CLOTHES,
    ("train-images-idx3-ubyte", 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    ("train-labels-idx1-ubyte", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ("t10k-images-idx3-ubyte", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    ("t10k-labels-idx1-ubyte", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)
