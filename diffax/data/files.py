"""NumPy files as datasets: .npy and .npz archives."""

import pathlib
from typing import Any

import numpy as np

from diffax.data import dataset, paths

_IMAGE_KEYS, _LABEL_KEYS = ("images", "image", "x", "data", "samples", "arr_0"), ("labels", "label", "y", "arr_1")


def load_arrays(split: str, *, path: str = "") -> dataset.Dataset:
    """Loads a split of a NumPy file: uint8 images (n, height, width[, channels]) or float points (n, *dims).

    Every 50th example is held out as the test split. In a .npz archive the examples are the array images, image, x,
    data, samples or arr_0, and the labels, if any, the array labels, label, y or arr_1.

    Args:
      split: train or test.
      path: the .npy file, or the .npz archive.

    Raises:
      ValueError: no path, no such file, pickled objects in it, or arrays that are neither images nor points.
    """
    file_path = paths.required(path, "arrays")
    if not file_path.is_file():
        raise ValueError(f"data.path = {str(file_path)!r} is not a file")
    try:
        with open(file_path, "rb") as file:
            content: Any = np.load(file, allow_pickle=False)
            arrays = {"images": content} if isinstance(content, np.ndarray) else {key: content[key] for key in content}
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file_path}: not a .npy or .npz file of plain arrays ({error})") from error
    examples = _first(arrays, _IMAGE_KEYS)
    if examples is None:
        raise ValueError(f"{file_path}: expected an array named {', '.join(_IMAGE_KEYS[:-1])}, got {', '.join(arrays)}")
    whole = _dataset(file_path, examples, _first(arrays, _LABEL_KEYS))
    return dataset.split_of(whole, split)


def _first(arrays: dict[str, np.ndarray], keys: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[key] for key in keys if key in arrays), None)


def _dataset(path: pathlib.Path, examples: np.ndarray, labels: np.ndarray | None) -> dataset.Dataset:
    if examples.dtype == np.uint8 and examples.ndim == 3:
        examples = examples[..., None]
    elif examples.dtype == np.float64:
        examples = examples.astype(np.float32)
    if labels is not None:
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{path}: labels must be integers (n,), got {labels.dtype} of shape {labels.shape}")
        labels = labels.astype(np.int32)
    return dataset.Dataset(
        name=path.stem,
        examples=examples,
        labels=labels,
        num_classes=None if labels is None else int(labels.max()) + 1,
        num_levels=256 if examples.dtype == np.uint8 else None,
    ).validate()
