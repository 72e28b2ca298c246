"""Listings of image folders: the classes and files that torchvision's ImageFolder finds, and what is left out.

A class is a folder; its images lie in it or anywhere below it. Hidden and system files never count.
"""

import collections
import functools
import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from PIL import Image

from diffax.data import captions
from diffax.data.dataset import listed

_SYSTEM = {"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "$recycle.bin", "system volume information"}
# Pillow knows their names but has no decoder of its own for them, or renders pages through another program.
_NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}
CLASSES = ("folders", "none")


class Listing(NamedTuple):
    """Images of a folder in order, their classes, and one-line notes on what was left out.

    class_names: None for images without classes; labels is then empty.
    holding: the files that hold captions or other columns of the images; see `data.captions`.
    """

    class_names: tuple[str, ...] | None
    files: list[pathlib.Path]
    labels: list[int]
    notes: tuple[str, ...]
    holding: list[pathlib.Path]


def is_visible(path: pathlib.Path) -> bool:
    """Whether a file or folder is neither hidden (.DS_Store, ._x.png) nor a system's own (Thumbs.db, __MACOSX)."""
    return not path.name.startswith(".") and path.name.lower() not in _SYSTEM


def entries(folder: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The visible sub-folders and files of a folder, each sorted by name."""
    visible = sorted(path for path in folder.iterdir() if is_visible(path))
    return [path for path in visible if path.is_dir()], [path for path in visible if _is_file(path)]


def list_images(root: pathlib.Path, classes: str | None = None) -> Listing:
    """Lists the images of a folder.

    Sub-folders with images are the classes. Without any, the images in `root` have no classes. Where images lie beside
    sub-folders with images, `classes` says what is meant.

    Args:
      classes: "folders" for the sub-folders of root as classes, without the images beside them; "none" for all images
        in root and below, without classes; None to decide by what is there.

    Raises:
      ValueError: no images, a class without images, images beside class folders while `classes` is None, or another
        value of `classes`.
    """
    if classes not in (None, *CLASSES):
        raise ValueError(f"data.classes must be one of {', '.join(CLASSES)}, got {classes!r}")
    if classes == "none":
        images, others = _divided(walk(root))
        return _listing(root, None, _at_least_one(root, images), [], others)
    folders, files = entries(root)
    beside, others = _divided(files)
    found = {folder.name: _divided(walk(folder)) for folder in folders}
    counts = {name: len(images) for name, (images, _) in found.items()}
    if not any(counts.values()):
        others += [other for _, more in found.values() for other in more]
        return _listing(root, None, _at_least_one(root, beside), [], others)
    if beside and classes is None:
        with_images = [f"{name} ({count:,} images)" for name, count in counts.items() if count]
        raise ValueError(
            f"{root}: {len(beside):,} images lie beside folders of images, {listed(with_images, 3)}: move them, or set "
            "data.classes to folders (each is a class; images beside them are left out) or none (all, without classes)"
        )
    empty = [name for name, count in counts.items() if not count]
    if empty:
        raise ValueError(
            f"{root / empty[0]}: the class has no images: add some, remove the folder, or set data.classes=none"
        )
    others += beside + [other for _, more in found.values() for other in more]
    pairs = [(image, label) for label, (images, _) in enumerate(found.values()) for image in images]
    images, labels = [image for image, _ in pairs], [label for _, label in pairs]
    return _listing(root, tuple(found), images, labels, others)


def walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The visible files in a folder and below, through links: by the path of their folder, then by name."""
    seen, levels = set(), []
    for path, folders, files in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(path)) in seen:
            folders.clear()  # a link to a folder above
            continue
        seen.add(real)
        folders[:] = [name for name in folders if is_visible(pathlib.Path(name))]
        levels.append((path, files))
    for path, files in sorted(levels):
        for file in sorted(files):
            full = pathlib.Path(path, file)
            if is_visible(full) and _is_file(full):
                yield full


def has_images(folder: pathlib.Path) -> bool:
    """Whether there is an image in a folder or below."""
    return any(file.suffix.lower() in _suffixes() for file in walk(folder))


def digest(root: pathlib.Path, files: Iterable[pathlib.Path]) -> str:
    """A checksum of the names (relative to root) and sizes of files."""
    content = hashlib.sha256()
    for file in files:
        size = file.stat().st_size if file.exists() else 0
        content.update(f"{file.relative_to(root).as_posix()}\0{size}\0".encode(errors="surrogateescape"))
    return content.hexdigest()[:16]


def _is_file(path: pathlib.Path) -> bool:
    """Whether it is a file, or a broken link, which then is an error as a missing file."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _listing(
    root: pathlib.Path,
    class_names: tuple[str, ...] | None,
    images: list[pathlib.Path],
    labels: list[int],
    others: Sequence[pathlib.Path],
) -> Listing:
    holding, rest = captions.divided(root, images, others)
    return Listing(class_names, images, labels, _left_out(root, rest), holding)


def _at_least_one(root: pathlib.Path, images: list[pathlib.Path]) -> list[pathlib.Path]:
    if not images:
        raise ValueError(f"{root}: no images, nor folders of them")
    return images


@functools.cache
def _suffixes() -> frozenset[str]:
    """The suffixes of the image formats that Pillow decodes."""
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, kind in known.items() if kind in Image.OPEN and kind not in _NOT_DECODED)


def _divided(files: Iterable[pathlib.Path]) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """(images, other files), by their suffixes."""
    images: list[pathlib.Path] = []
    others: list[pathlib.Path] = []
    for file in files:
        (images if file.suffix.lower() in _suffixes() else others).append(file)
    return images, others


def _left_out(root: pathlib.Path, others: Sequence[pathlib.Path]) -> tuple[str, ...]:
    """A note on the files that are left out: their number by suffix, and the first of them."""
    if not others:
        return ()
    counts = collections.Counter(file.suffix.lower() or "without suffix" for file in others)
    kinds = listed([f"{suffix} {count:,}" for suffix, count in counts.most_common()], 5)
    return (f"left out of {root}: {len(others):,} files ({kinds}), the first is {others[0].relative_to(root)}",)
