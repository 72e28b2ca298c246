"""Image folders: image files with one folder per class, or without classes, and captions beside them."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from diffax.data import captions, listing, paths
from diffax.data.columns import Columns
from diffax.data.dataset import held_out_rows, listed
from diffax.data.decoding import Form
from diffax.data.source import Example
from diffax.data.survey import form_of

_TRAIN, _HELD_OUT = ("train", "training"), ("test", "testing", "val", "valid", "validation")


@final
@dataclasses.dataclass(frozen=True)
class Folder:
    """An image folder as a `data.source.Source`; made by `open_folder`.

    notes, files_digest, columns: see `data.source.Source`.
    """

    name: str
    form: Form
    class_names: Sequence[str] | None
    files: Sequence[pathlib.Path]
    labels: Sequence[int] | None
    notes: tuple[str, ...] = ()
    files_digest: str | None = None
    columns: Mapping[str, Any] = dataclasses.field(default_factory=dict)

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


def open_folder(
    split: str,
    *,
    path: str = "",
    size: int | None = None,
    channels: int | None = None,
    background: str = "white",
    classes: str | None = None,
) -> Folder:
    """Opens a split of an image folder; image files of any format that Pillow reads, in the order of their names.

    A folder with sub-folders train (or training) and test, testing, val, valid or validation has those splits, of which
    the first of that order is held out. In any other folder, or one with train alone, every 50th file is held out. The
    sub-folders of the training split are the classes of both splits; their images lie anywhere below them. The folder
    of a split may hold columns of its images, captions for one: see `data.captions`.

    Args:
      split: train or test; or all, for a folder without splits of its own.
      path: the folder.
      size: the side of the square that every image is center-cropped and resized to, with antialiasing; None if all
        images have one size.
      channels: 1 for grey, 3 for colour; None for the channels of the majority of the training images.
      background: the colour on which transparent pixels are composited: black, white or #rrggbb.
      classes: folders or none, where images lie beside folders of images: see `data.listing.list_images`.

    Raises:
      ValueError: no path, no such folder, no images in it, a class without images, a held-out class that is not one of
        the training split, or a malformed line of captions.
    """
    root = paths.required(path, "folder")
    if not root.is_dir():
        raise ValueError(f"data.path = {str(root)!r} is not a folder")
    train_folder, test_folder, notes = _splits(root)
    train = listing.list_images(train_folder, classes)
    chosen = train if split == "train" or test_folder is None else listing.list_images(test_folder, classes)
    notes += chosen.notes
    files, labels, rows = chosen.files, chosen.labels, np.arange(len(chosen.files))
    if test_folder is None and split != "all":
        rows, note = held_out_rows(str(root), len(files), split)
        files, labels = [files[row] for row in rows], [labels[row] for row in rows] if labels else []
        notes += (note,)
    elif test_folder is not None and chosen is not train:
        labels = _renumbered(test_folder, chosen, train)
    form, changes = form_of(
        train.files.__getitem__,
        len(train.files),
        lambda index: str(train.files[index]),
        size=size,
        channels=channels,
        background=background,
    )
    name = f"{root.name}/{split}"
    columns, ignored = _columns(name, train_folder if test_folder is None or chosen is train else test_folder, chosen)
    digest = listing.digest(root, files)
    labels_or_none = None if train.class_names is None else labels
    notes += (*ignored, *changes)
    return Folder(name, form, train.class_names, files, labels_or_none, notes, digest, columns.selected(rows))


def _columns(name: str, root: pathlib.Path, images: listing.Listing) -> tuple[Columns, tuple[str, ...]]:
    """The columns of all images in the folder of a split, and notes on what was ignored."""
    found = captions.read(root, images.files, images.holding)
    row_name = functools.partial(_relative, root, images.files)
    return Columns(name, found.raw, len(images.files), row_name=row_name), found.notes


def _relative(root: pathlib.Path, files: Sequence[pathlib.Path], row: int) -> str:
    return files[row].relative_to(root).as_posix()


def _splits(root: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path | None, tuple[str, ...]]:
    """(the folder of the training split, that of the held-out split or None, notes on what lies beside them)."""
    folders, files = listing.entries(root)
    by_name = {folder.name.lower(): folder for folder in folders}
    train = next((by_name[name] for name in _TRAIN if name in by_name), None)
    held_out = [by_name[name] for name in _HELD_OUT if name in by_name]
    if train is None and held_out and len(held_out) == len(folders):
        raise ValueError(f"{root}: there is a folder {held_out[0].name} but none named train")
    beside = [folder for folder in folders if folder not in (train, *held_out[:1])]
    if train is None or (not held_out and any(map(listing.has_images, beside))):
        return root, None, ()  # train is a class among others
    others = [f"{folder.name}/ ({sum(1 for _ in listing.walk(folder)):,} files)" for folder in beside]
    others += [file.name for file in files]
    notes = (f"left out of {root}, beside the folders of its splits: {listed(others)}",) if others else ()
    if held_out and held_out[0].resolve() == train.resolve():
        return train, None, notes
    return train, held_out[0] if held_out else None, notes


def _renumbered(folder: pathlib.Path, held_out: listing.Listing, train: listing.Listing) -> list[int]:
    """The labels of the held-out images as numbers of the classes of the training split."""
    if train.class_names is None and held_out.class_names is None:
        return []
    if train.class_names is None or held_out.class_names is None:
        with_classes = "held-out" if train.class_names is None else "training"
        raise ValueError(
            f"{folder}: of training and held-out images only the {with_classes} images lie in class folders"
        )
    unknown = [name for name in held_out.class_names if name not in train.class_names]
    if unknown:
        raise ValueError(
            f"{folder / unknown[0]}: the training split has no such class, but {listed(train.class_names)}"
        )
    numbers = {name: number for number, name in enumerate(train.class_names)}
    return [numbers[held_out.class_names[label]] for label in held_out.labels]
