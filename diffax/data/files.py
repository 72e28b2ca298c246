"""NumPy files as datasets: .npy files, .npz archives and sample sets, of images or points."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffax.data import dataset, listing, paths, pixels, shards
from diffax.data.array_columns import ArrayColumns
from diffax.data.columns import Columns

_EXAMPLES, _LABELS = ("images", "image", "x", "data", "samples", "arr_0"), ("labels", "label", "y", "arr_1")
_HELD_OUT = ("test", "val", "valid", "validation")


def load_arrays(split: str, *, path: str = "", points: bool = False) -> dataset.Dataset:
    """Loads a split of a NumPy file or a sample set: images (n, height, width[, channels]) or float points (n, *dims).

    Arrays of uint8 are images of 256 levels; bool and uint16 images are scaled to that, False and True to 0 and 255,
    and uint16 to its high byte. Floats (n, height, width, channels) in [-1, 1] are images too, of the archive's
    `num_levels` or 256 levels; all in [0, 1], they are scaled from that. All other floats are points, in the network's
    units.

    In a .npz archive the examples are the array images, image, x, data, samples or arr_0, and the labels, if any, the
    array labels, label, y or arr_1: numbers, or names of classes. Names with a split, x_train and x_test or
    train_images and test_images, give the splits. Otherwise every 50th example is held out.

    Further arrays of one row per example are columns, with the same naming of splits: numbers (n, size) are vectors,
    numbers (n, length, size) sequences of vectors, strings (n,) or (n, k) texts of one or k wordings. A boolean array
    NAME_mask, (n,) or (n, length), says which vectors of the column NAME are real, NAME_mask_train those of
    NAME_train. Other arrays are ignored.

    Args:
      split: train or test; or all, for files without splits of their own.
      path: the .npy file, the .npz archive, or the directory of a sample set (`--mode sample`).
      points: whether floats are points in any case.

    Raises:
      ValueError: no path, no such file, pickled objects in it, or arrays that are neither images nor points.
    """
    file_path = paths.required(path, "arrays")
    parts = [path for *_, path in shards.listed(file_path)] or [file_path]
    if not parts[0].is_file():
        raise ValueError(f"data.path = {str(file_path)!r} is neither a file nor a sample set")
    arrays = _read(file_path) if parts == [file_path] else _joined(file_path)
    files = listing.digest(file_path.parent, parts)
    train, held_out = _divided(arrays)
    examples, labels = _found(file_path, arrays, train)
    names = None if labels is None else _class_names(file_path, labels)
    affixes = held_out if split == "test" and held_out is not None else train
    if affixes is held_out:
        examples, labels = _found(file_path, arrays, affixes)
    images, num_levels, note = _as_images(file_path, examples, arrays.get("num_levels"), points)
    further = ArrayColumns.of(file_path.stem, _further(arrays, affixes), len(images))
    whole = dataset.Dataset(
        name=file_path.stem,
        examples=images,
        labels=None if labels is None or names is None else _numbers(file_path, labels, names),
        num_classes=None if names is None else len(names),
        num_levels=num_levels,
        class_names=names,
        notes=() if note is None else (note,),
        files_digest=files,
        columns=Columns(file_path.stem, further, len(images)),
    ).validate()
    return whole if held_out is not None or split == "all" else dataset.split_of(whole, split)


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            content: Any = np.load(file, allow_pickle=False)
            return {"images": content} if isinstance(content, np.ndarray) else {key: content[key] for key in content}
    except Exception as error:  # NumPy's parser of a damaged header raises errors of many kinds
        message = " ".join(str(error).split())
        raise ValueError(f"{path}: not a .npy or .npz file of plain arrays ({message})") from error


def _joined(directory: pathlib.Path) -> dict[str, np.ndarray]:
    read = list(shards.read(directory))
    return {name: np.concatenate([arrays[name] for arrays in read]) for name in read[0]}


def _divided(arrays: Mapping[str, np.ndarray]) -> tuple[tuple[str, str], tuple[str, str] | None]:
    """The (prefix, suffix) of the names of training arrays and of held-out arrays; None where there are none."""
    for before, after in (("{}_", ""), ("", "_{}")):
        train, *held_out = ((before.format(name), after.format(name)) for name in ("train", *_HELD_OUT))
        if _named(arrays, _EXAMPLES, train):
            return train, next((affixes for affixes in held_out if _named(arrays, _EXAMPLES, affixes)), None)
    return ("", ""), None


def _named(arrays: Mapping[str, np.ndarray], keys: tuple[str, ...], affixes: tuple[str, str]) -> list[np.ndarray]:
    return [arrays[name] for name in (f"{affixes[0]}{key}{affixes[1]}" for key in keys) if name in arrays]


def _further(arrays: Mapping[str, np.ndarray], affixes: tuple[str, str]) -> dict[str, np.ndarray]:
    """The arrays of a split that are neither its examples nor its labels, by their names without prefix and suffix."""
    before, after = affixes
    known = [name for name in arrays if name.startswith(before) and name.endswith(after)]
    named = {name[len(before) : len(name) - len(after)]: arrays[name] for name in known}
    used = [next((key for key in keys if key in named), None) for keys in (_EXAMPLES, _LABELS)]
    return {name: array for name, array in named.items() if name not in used}


def _found(
    path: pathlib.Path, arrays: Mapping[str, np.ndarray], affixes: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """The examples and labels of a split."""
    examples, labels = _named(arrays, _EXAMPLES, affixes), _named(arrays, _LABELS, affixes)
    if not examples:
        expected = ", ".join(_EXAMPLES[:-1])
        raise ValueError(f"{path}: expected an array named {expected}, got {dataset.listed(list(arrays)) or 'none'}")
    if not examples[0].ndim:
        raise ValueError(f"{path}: expected examples (n, ...), got a single number")
    if not labels:
        return examples[0], None
    flat = labels[0][:, 0] if labels[0].ndim == 2 and labels[0].shape[1] == 1 else labels[0]
    if flat.ndim != 1 or flat.dtype.kind not in "iuU":
        raise ValueError(
            f"{path}: labels must be integers or names (n,), got {labels[0].dtype} of shape {labels[0].shape}"
        )
    if len(flat) != len(examples[0]):
        raise ValueError(f"{path}: expected {len(examples[0])} labels, one per example, got {len(flat)}")
    return examples[0], flat


def _class_names(path: pathlib.Path, labels: np.ndarray) -> tuple[str, ...]:
    """The classes of the training labels: names in order, or numbers up to the largest."""
    if labels.dtype.kind == "U":
        return tuple(np.unique(labels).tolist())
    if not len(labels) or labels.min() < 0 or labels.max() >= 1_000_000:
        span = f"{labels.min()} to {labels.max()}" if len(labels) else "none"
        raise ValueError(f"{path}: labels must be classes 0, 1, 2, ..., got {span}")
    return tuple(str(number) for number in range(int(labels.max()) + 1))


def _numbers(path: pathlib.Path, labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The labels as numbers of the classes of the training split."""
    numbers = {name: number for number, name in enumerate(names)}
    unknown = [str(label) for label in np.unique(labels) if str(label) not in numbers]
    if unknown:
        raise ValueError(f"{path}: the training split has no class {unknown[0]}, but {dataset.listed(names)}")
    return np.array([numbers[str(label)] for label in labels.tolist()], np.int32)


def _as_images(
    path: pathlib.Path, examples: np.ndarray, num_levels: np.ndarray | None, points: bool
) -> tuple[np.ndarray, int | None, str | None]:
    """(uint8 images or float32 points, the number of levels of a pixel, a note on what was decided)."""
    kind, shape = examples.dtype.kind, examples.shape
    examples = examples.astype(examples.dtype.newbyteorder("="), copy=False)
    if kind == "f":
        return _floats(path, examples.astype(np.float32, copy=False), num_levels, points)
    if examples.dtype not in (np.uint8, np.uint16, np.bool_):
        raise ValueError(f"{path}: examples must be uint8, uint16 or bool images or floats, got {examples.dtype}")
    if examples.ndim not in (3, 4) or not examples.size:
        raise ValueError(f"{path}: expected images (n, height, width[, channels]), got shape {shape}")
    if examples.ndim == 4 and shape[1] in (1, 3, 4) and shape[3] > 4 and shape[2] == shape[3]:
        raise ValueError(f"{path}: shape {shape} looks like (n, channels, height, width): move the channels to the end")
    images = examples if examples.ndim == 4 else examples[..., None]
    if kind == "b":
        return images.astype(np.uint8) * 255, 256, f"{path}: False and True are the levels 0 and 255"
    if images.dtype == np.uint8:
        return images, 256, None
    top = int(images.max())
    if top < 256:
        raise ValueError(f"{path}: 16-bit images with values up to {top} only would be black: store them as uint8")
    return pixels.high_byte(images), 256, f"{path}: 16-bit images (values up to {top:,}) are reduced to their high byte"


def _floats(
    path: pathlib.Path, examples: np.ndarray, num_levels: np.ndarray | None, points: bool
) -> tuple[np.ndarray, int | None, str | None]:
    """Floats as images of 256 levels, or of the levels that the archive names, or as points."""
    levels = 256 if num_levels is None or num_levels.shape else int(num_levels)
    if points or examples.ndim != 4 or not examples.size or not np.isfinite(examples).all():
        return examples, None, None
    low, high = float(examples.min()), float(examples.max())
    if num_levels is None and (low < -1 or high > 1):
        return examples, None, f"{path}: floats from {low:g} to {high:g} are points, in the network's units"
    if not 2 <= levels <= 256:
        raise ValueError(f"{path}: num_levels must be in 2..256, got {levels}")
    unit = num_levels is None and low >= 0
    scaled = examples if unit else (np.clip(examples, -1, 1) + 1) / 2
    span = "[0, 1]" if unit else "[-1, 1]"
    note = f"{path}: floats in {span} are images of {levels} levels (data.points=True keeps them)"
    return np.floor(scaled * (levels - 1) + 0.5).astype(np.uint8), levels, note
