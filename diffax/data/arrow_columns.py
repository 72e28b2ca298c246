"""Columns of texts and numbers of a Hugging Face data set, read from its memory-mapped Arrow files at look-up."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

_TEXTS = ("string", "large_string", "string_view")
_NUMBERS = ("int", "uint", "float", "double", "bfloat")
_LISTS = ("List", "LargeList", "Sequence", "list")
_ARRAYS = ("Array2D",)


@final
@dataclasses.dataclass(frozen=True, eq=False)
class ArrowColumns(Mapping[str, Any]):
    """The raw cells of the columns of a split by name, each read when its name is looked up.

    split: a `datasets.Dataset`. depths: the names of columns to the nesting of their numbers; 0 for texts.
    """

    split: Any
    depths: Mapping[str, int]

    @classmethod
    def of(cls, split: Any, without: Sequence[str | None]) -> "ArrowColumns":
        """The columns of strings, lists of strings, lists of numbers, or lists of lists of numbers, but some."""
        found = {name: _depth(feature) for name, feature in split.features.items() if name not in without}
        return cls(split, {name: depth for name, depth in found.items() if depth is not None})

    def __getitem__(self, name: str) -> Sequence[Any] | np.ndarray:
        depth = self.depths[name]
        chunks = self.split.select_columns([name]).with_format("arrow")[:].column(name).chunks
        if not depth:
            return [cell or () for chunk in chunks for cell in chunk.to_pylist()]
        parts = [_numbers(getattr(chunk, "storage", chunk), depth) for chunk in chunks if len(chunk)]
        sizes = {part.shape[1:] if isinstance(part, np.ndarray) else None for part in parts}
        return np.concatenate(parts) if None not in sizes and len(sizes) == 1 else [cell for p in parts for cell in p]

    def __contains__(self, name: object) -> bool:
        return name in self.depths

    def __iter__(self) -> Iterator[str]:
        return iter(self.depths)

    def __len__(self) -> int:
        return len(self.depths)


def _depth(feature: Any) -> int | None:
    """0 for texts or lists of them, 1 for vectors, 2 for sequences of vectors; None for other features."""
    dtype = _dtype(feature)
    if dtype in _TEXTS:
        return 0
    if type(feature).__name__ in _ARRAYS:
        return 2 if str(feature.dtype).startswith(_NUMBERS) else None
    if (inner := _inner(feature)) is None:
        return None
    if _dtype(inner) in _TEXTS:
        return 0
    if _dtype(inner).startswith(_NUMBERS):
        return 1
    return 2 if _inner(inner) is not None and _dtype(_inner(inner)).startswith(_NUMBERS) else None


def _dtype(feature: Any) -> str:
    return str(feature.dtype) if type(feature).__name__ == "Value" else ""


def _inner(feature: Any) -> Any:
    """The feature of the entries of a list; None for a feature that is no list."""
    if isinstance(feature, list):
        return feature[0]
    return feature.feature if type(feature).__name__ in _LISTS else None


def _numbers(array: Any, depth: int) -> np.ndarray | list[Any]:
    """Nested lists of Arrow as arrays: (n, size) for vectors of one size, otherwise one array or None for each cell."""
    import pyarrow.compute

    lengths = pyarrow.compute.list_value_length(array).fill_null(-1).to_numpy(zero_copy_only=False)
    values = array.flatten()
    if depth == 2:
        widths = pyarrow.compute.list_value_length(values)
        if widths.null_count or len(widths.unique()) != 1 or not widths[0].as_py():
            return array.to_pylist()
        flat = values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1)
    else:
        flat = values.to_numpy(zero_copy_only=False)
        if (lengths == lengths[0]).all() and lengths[0] > 0:
            return flat.reshape(len(lengths), -1)
    cells = np.split(flat, np.cumsum(np.maximum(lengths, 0))[:-1])
    return [None if length < 0 else cell for cell, length in zip(cells, lengths, strict=True)]
