"""A folder of image files, with one sub-folder for each class or none."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import final

import numpy as np
from PIL import Image

from diffax.data.dataset import HELD_OUT_EVERY, is_held_out
from diffax.data.decoding import Form, form_of
from diffax.data.source import Example


@final
@dataclasses.dataclass(frozen=True)
class Folder:
    """See open_folder."""

    name: str
    form: Form
    class_names: Sequence[str] | None
    files: Sequence[pathlib.Path]
    labels: Sequence[int] | None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.form.shape

    def __len__(self) -> int:
        return len(self.files)

    def example(self, index: int) -> Example:
        path = self.files[index]
        pixels = self.form.decode(path, str(path))
        return Example(pixels, None if self.labels is None else self.labels[index])


def open_folder(path: pathlib.Path, split: str, *, size: int | None = None, channels: int | None = None) -> Folder:
    """The images under `path`, of any format that Pillow reads, in the order of their names.

    A folder with sub-folders train and test (or val) has those splits; of any other, every 50th file is held out as
    test. Sub-folders of a split are its classes, in the order of their names.

    Args:
      split: train or test.
      size: the side of the square that every image is cropped and resized to, antialiased; None for images that all
        have the size of the first.
      channels: 1 for grey, 3 for colour; None for what the first has.

    Raises:
      ValueError: no such folder, no images in it, or an empty class.
    """
    if not path.is_dir():
        raise ValueError(f"data.path = {str(path)!r} is not a folder")
    own = {name: path / name for name in ("train", "test", "val") if (path / name).is_dir()}
    has_splits = "train" in own and len(own) > 1
    root = path if not has_splits else own["train"] if split == "train" else own.get("test", own.get("val", path))
    names, files, labels = _listed(root)
    if not has_splits:
        kept = np.flatnonzero(is_held_out(np.arange(len(files))) == (split == "test"))
        if not len(kept):
            raise ValueError(f"{root}: {len(files)} images are too few, one of {HELD_OUT_EVERY} is held out")
        files, labels = [files[i] for i in kept], [labels[i] for i in kept]
    form = form_of(files[0], str(files[0]), size=size, channels=channels)
    return Folder(f"{path.name}/{split}", form, names, files, labels if names else None)


def _listed(root: pathlib.Path) -> tuple[list[str] | None, list[pathlib.Path], list[int]]:
    """The names of the classes, or None; all files; their classes."""
    classes = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    groups = [_images(folder) for folder in classes or [root]]
    for folder, group in zip(classes or [root], groups, strict=True):
        if not group:
            what = (
                "the class has no images: add some or remove the folder"
                if classes
                else "no images, nor folders of them"
            )
            raise ValueError(f"{folder}: {what}")
    files = [file for group in groups for file in group]
    labels = [label for label, group in enumerate(groups) for _ in group]
    return [folder.name for folder in classes] or None, files, labels


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    """The files whose suffix is that of an image format."""
    known = Image.registered_extensions()
    return sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in known and entry.is_file())
