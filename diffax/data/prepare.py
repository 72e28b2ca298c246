"""Preparation of TFDS datasets without TensorFlow, with the names, versions, features and files of TFDS's own builders.

TFDS reads array_record files with NumPy and Pillow alone, but its builders need TensorFlow to write them. This module
has builders for the datasets of ARCHIVES. Their examples hold PNG bytes already, so that writing them needs no
TensorFlow. tfds.data_source reads the files.
"""

import contextlib
import errno
import io
import pathlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from diffax.data import archive, cifar, dataset, download, listing, mnist

ARCHIVES = {
    "cifar10": cifar.CIFAR10,
    "cifar100": cifar.CIFAR100,
    "mnist": mnist.MNIST,
    "fashion_mnist": mnist.FASHION_MNIST,
}
# The file's name, the bytes downloaded so far and its size.
Report = Callable[[str, int, int], None]


def builder(name: str, data_dir: pathlib.Path | None) -> Any:
    """The TFDS builder of one of ARCHIVES; data_dir None is TFDS's default."""
    import tensorflow_datasets as tfds

    builder_class = types.new_class(
        name, (tfds.core.GeneratorBasedBuilder,), {"skip_registration": True}, lambda body: body.update(_body(name))
    )
    return builder_class(data_dir=None if data_dir is None else str(data_dir), file_format="array_record")


def prepare(
    name: str,
    data_dir: pathlib.Path | None,
    *,
    local: pathlib.Path | None = None,
    report: Report | None = None,
) -> Any:
    """Prepares one of ARCHIVES: downloads and verifies the official files and writes them in TFDS's format.

    A dataset that is prepared already is left as it is.

    Args:
      data_dir: the folder of all TFDS datasets; None for TFDS's default, ~/tensorflow_datasets.
      local: the official archive or a folder with the official files, used instead of a download. Checksums are not
        verified.
      report: called in downloads with a file's name, the bytes downloaded so far and its size.

    Returns:
      The prepared TFDS builder.

    Raises:
      ValueError: a failed download, wrong or damaged files, or a full disk. Nothing half-written stays.
    """
    prepared = builder(name, data_dir)
    if prepared.info.splits:
        return prepared
    downloads = pathlib.Path(prepared.data_dir).parents[1] / "downloads" / name
    prepared.contents = ARCHIVES[name].read(local or _downloaded(ARCHIVES[name], downloads, report))
    with _full_disk(pathlib.Path(prepared.data_dir)):
        prepared.download_and_prepare()
    return prepared


def read_local(name: str, path: pathlib.Path, split: str) -> dataset.Dataset:
    """Loads a split of one of ARCHIVES from its official files into memory; writes nothing to disk.

    Args:
      path: the official archive, or the folder of the official files.

    Raises:
      ValueError: missing, damaged or wrong files.
    """
    if not path.exists():
        raise ValueError(f"data.path = {str(path)!r} does not exist: expected the official files of {name}")
    splits, class_names = ARCHIVES[name].read(path)
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if listing.is_visible(file))
    images, labels = splits[split]
    return dataset.Dataset(
        name=f"{name}/{split}",
        examples=images,
        labels=np.ascontiguousarray(labels[:, -1]),
        num_classes=len(class_names),
        num_levels=256,
        class_names=tuple(class_names),
        files_digest=listing.digest(path.parent, files),
    ).validate()


def _downloaded(files: archive.Archive, folder: pathlib.Path, report: Report | None) -> pathlib.Path:
    for remote in files.remotes:
        callback = None if report is None else lambda have, size, name=remote.name: report(name, have, size)
        download.fetch(remote, folder, report=callback)
    return folder


@contextlib.contextmanager
def _full_disk(folder: pathlib.Path) -> Iterator[None]:
    """Turns the error of a full disk into a ValueError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ValueError(f"{folder}: the disk is full; nothing of the dataset was kept there") from error
        raise


def _body(name: str) -> dict[str, Any]:
    """The attributes and methods of the TFDS builder class of one of ARCHIVES."""
    import tensorflow_datasets as tfds

    official = ARCHIVES[name]

    def info(self: Any) -> Any:
        features: dict[str, Any] = {"image": tfds.features.Image(shape=official.shape)}
        features |= {key: tfds.features.ClassLabel(num_classes=_NUM_CLASSES[name, key]) for key in official.label_keys}
        if name.startswith("cifar"):
            features["id"] = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            description=f"{name}, written without TensorFlow from its official files",
        )

    def split_generators(self: Any, _: Any) -> dict[str, Any]:
        splits, class_names = self.contents
        self.info.features["label"].names = list(class_names)
        return {split: examples(split, content) for split, content in splits.items()}

    def examples(split: str, content: archive.Split) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image, labels) in enumerate(zip(content.images, content.labels, strict=True)):
            example: dict[str, Any] = {"image": io.BytesIO(png(image))}
            example |= {key: int(label) for key, label in zip(official.label_keys, labels, strict=True)}
            if name.startswith("cifar"):
                example["id"] = f"{split}_{index:05d}"
            yield index, example

    return {
        "name": name,
        "VERSION": tfds.core.Version(official.version),
        "_info": info,
        "_split_generators": split_generators,
        "_generate_examples": examples,
        "__module__": __name__,
    }


_NUM_CLASSES = {
    ("cifar10", "label"): 10,
    ("cifar100", "label"): 100,
    ("cifar100", "coarse_label"): 20,
    ("mnist", "label"): 10,
    ("fashion_mnist", "label"): 10,
}


def png(image: np.ndarray) -> bytes:
    """Encodes an image (height, width, channels) as PNG."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "png")
    return file.getvalue()
