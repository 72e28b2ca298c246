"""Image folders: image files with one sub-folder per class, or without classes."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import final

import numpy as np
from PIL import Image

from diffax.data import paths
from diffax.data.dataset import HELD_OUT_EVERY, is_held_out
from diffax.data.decoding import Form, form_of
from diffax.data.source import Example


@final
@dataclasses.dataclass(frozen=True)
class Folder:
    """An image folder as a `data.source.Source`; made by `open_folder`."""

    name: str
    form: Form
    class_names: Sequence[str] | None
    files: Sequence[pathlib.Path]
    labels: Sequence[int] | None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every decoded image."""
        return self.form.shape

    def __len__(self) -> int:
        return len(self.files)

    def example(self, index: int) -> Example:
        """Decodes one image. Raises CorruptExample, whose message names the file."""
        path = self.files[index]
        pixels = self.form.decode(path, str(path))
        return Example(pixels, None if self.labels is None else self.labels[index])


def open_folder(split: str, *, path: str = "", size: int | None = None, channels: int | None = None) -> Folder:
    """Opens a split of an image folder; image files of any format that Pillow reads, in the order of their names.

    A folder with sub-folders train and test (or val) has those splits. In any other folder every 50th file is held out
    as the test split. The sub-folders of a split are its classes, in the order of their names.

    Args:
      split: train or test.
      path: the folder.
      size: the side of the square that every image is center-cropped and resized to, with antialiasing; None if all
        images have the size of the first.
      channels: 1 for grey, 3 for colour; None for the channels of the first image.

    Raises:
      ValueError: no path, no such folder, no images in it, or a class without images.
    """
    folder = paths.required(path, "folder")
    if not folder.is_dir():
        raise ValueError(f"data.path = {str(folder)!r} is not a folder")
    splits = {name: folder / name for name in ("train", "test", "val") if (folder / name).is_dir()}
    has_splits = "train" in splits and len(splits) > 1
    if not has_splits:
        root = folder
    else:
        root = splits["train"] if split == "train" else splits.get("test", splits.get("val", folder))
    names, files, labels = _listed(root)
    if not has_splits:
        indices = np.flatnonzero(is_held_out(np.arange(len(files))) == (split == "test"))
        if not len(indices):
            raise ValueError(f"{root}: {len(files)} images are too few, one of {HELD_OUT_EVERY} is held out")
        files, labels = [files[i] for i in indices], [labels[i] for i in indices]
    form = form_of(files[0], str(files[0]), size=size, channels=channels)
    return Folder(f"{folder.name}/{split}", form, names, files, labels if names else None)


def _listed(root: pathlib.Path) -> tuple[list[str] | None, list[pathlib.Path], list[int]]:
    """(names of the classes or None, all files, the class of each file)."""
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
    """The files of a folder with the suffix of an image format, sorted by name."""
    known = Image.registered_extensions()
    return sorted(entry for entry in folder.iterdir() if entry.suffix.lower() in known and entry.is_file())
