"""Checks of what a text encoder returned: one finite array of floats per text, all of one width."""

import itertools
from typing import Any

import numpy as np

_NUM_AXES = {"vector": 1, "tokens": 2}
_SHAPES = {"vector": "(size,)", "tokens": "(length, size)"}


def checked(results: Any, count: int, *, form: str, name: str) -> list[np.ndarray]:
    """The results of an encoder as a list of float32 arrays, (size,) or, in the form "tokens", (length, size).

    Args:
      results: an array (count, size) or (count, length, size), or a list of arrays; of floats of any width.
      count: the number of texts.
      name: of the encoder, for the messages.

    Raises:
      ValueError: another number of results, another shape or dtype, values that are not finite, no vector for a text,
        or vectors of several widths: one line.
    """
    where = f"text encoder {name!r}"
    try:
        arrays = [np.asarray(each) for each in (np.asarray(results) if hasattr(results, "__array__") else results)]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{where}: expected one array per text, got a {type(results).__name__} ({str(error).splitlines()[0]})"
        ) from error
    if len(arrays) != count:
        raise ValueError(f"{where}: expected {count} results for {count} texts, got {len(arrays)}")
    floats = [_float32(array, form, f"{where}: result {index}") for index, array in enumerate(arrays)]
    for index, (first, array) in enumerate(itertools.pairwise(floats), start=1):
        if array.shape[-1] != first.shape[-1]:
            widths = f"{first.shape[-1]} and result {index} {array.shape[-1]} numbers a vector"
            raise ValueError(f"{where}: expected vectors of one width, but result {index - 1} has {widths}")
    return floats


def _float32(array: np.ndarray, form: str, where: str) -> np.ndarray:
    if array.ndim != _NUM_AXES[form] or not array.size:
        other = [key for key, axes in _NUM_AXES.items() if array.ndim == axes and key != form]
        hint = f'; is its form "{other[0]}"?' if other else ""
        raise ValueError(f"{where}: expected an array of shape {_SHAPES[form]}, got shape {array.shape}{hint}")
    # NumPy does not know bfloat16 as a float.
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise ValueError(f"{where}: expected floats, got dtype {array.dtype}")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: expected finite float32 numbers, got {values[~np.isfinite(values)][0]}")
    return values
