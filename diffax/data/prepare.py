"""TFDS datasets made without TensorFlow: the same names, versions, features and files as its own builders make.

TFDS reads array_record files with NumPy and Pillow alone, but its builders need TensorFlow to write them. For those of
ARCHIVES there are builders here, whose examples already hold PNG bytes; tfds.data_source reads what they write.
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

from diffax.data import archive, cifar, dataset, download, mnist

ARCHIVES = {
    "cifar10": cifar.CIFAR10,
    "cifar100": cifar.CIFAR100,
    "mnist": mnist.MNIST,
    "fashion_mnist": mnist.FASHION_MNIST,
}
Report = Callable[[str, int, int], None]


def builder(name: str, data_dir: pathlib.Path | None) -> Any:
    """The tfds builder of one of ARCHIVES."""
    import tensorflow_datasets as tfds

    made = types.new_class(
        name, (tfds.core.GeneratorBasedBuilder,), {"skip_registration": True}, lambda body: body.update(_body(name))
    )
    return made(data_dir=None if data_dir is None else str(data_dir), file_format="array_record")


def prepare(
    name: str,
    data_dir: pathlib.Path | None,
    *,
    local: pathlib.Path | None = None,
    report: Report | None = None,
) -> Any:
    """The builder of one of ARCHIVES, prepared: its files downloaded, verified and written in TFDS's format.

    Args:
      local: the official files, or a folder with them, to use instead of the network; their checksums are not asked.
      report: called with a file's name, the bytes there are and the bytes there will be.

    Raises:
      ValueError: files that cannot be had or are not the right ones, or a full disk; nothing half-written stays.
    """
    made = builder(name, data_dir)
    if made.info.splits:
        return made
    source = local or _downloaded(ARCHIVES[name], pathlib.Path(made.data_dir).parents[1] / "downloads" / name, report)
    made.contents = ARCHIVES[name].read(source)
    with _full_disk(pathlib.Path(made.data_dir)):
        made.download_and_prepare()
    return made


def read_local(name: str, path: pathlib.Path, split: str) -> dataset.Dataset:
    """A split of one of ARCHIVES from its official files, with nothing written: path is the archive, or their folder.

    Raises:
      ValueError: files that are not there or not the right ones.
    """
    if not path.exists():
        raise ValueError(f"data.path = {str(path)!r} does not exist: expected the official files of {name}")
    splits, class_names = ARCHIVES[name].read(path)
    images, labels = splits[split]
    return dataset.Dataset(
        name=f"{name}/{split}",
        examples=images,
        labels=np.ascontiguousarray(labels[:, -1]),
        num_classes=len(class_names),
        num_levels=256,
    ).validate()


def _downloaded(wanted: archive.Archive, folder: pathlib.Path, report: Report | None) -> pathlib.Path:
    for remote in wanted.remotes:
        said = None if report is None else lambda have, size, name=remote.name: report(name, have, size)
        download.fetch(remote, folder, report=said)
    return folder


@contextlib.contextmanager
def _full_disk(folder: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ValueError(f"{folder}: the disk is full; nothing of the dataset was kept there") from error
        raise


def _body(name: str) -> dict[str, Any]:
    """What a class of that name holds; tfds calls the methods."""
    import tensorflow_datasets as tfds

    described = ARCHIVES[name]

    def info(self: Any) -> Any:
        features: dict[str, Any] = {"image": tfds.features.Image(shape=described.shape)}
        features |= {key: tfds.features.ClassLabel(num_classes=_NUM_CLASSES[name, key]) for key in described.label_keys}
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
            example |= {key: int(label) for key, label in zip(described.label_keys, labels, strict=True)}
            if name.startswith("cifar"):
                example["id"] = f"{split}_{index:05d}"
            yield index, example

    return {
        "name": name,
        "VERSION": tfds.core.Version(described.version),
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
    """An image (height, width, channels) as PNG."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "png")
    return file.getvalue()
