"""Columns of an .npz archive: its further arrays that have as many rows as there are examples."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, final

import numpy as np

_MASK = "{}_mask"


@final
@dataclasses.dataclass(frozen=True, eq=False)
class ArrayColumns(Mapping[str, Any]):
    """The raw cells of the columns by name: vectors (n, size), sequences (n, length, size), or texts (n,) or (n, k).

    name: of the archive in error messages.
    masks: the names of columns to arrays of which vectors are real, booleans or 0 and 1: (n,) for vectors, (n, length)
        for sequences. All are real in a column without a mask.
    """

    name: str
    arrays: Mapping[str, np.ndarray]
    masks: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, name: str, arrays: Mapping[str, np.ndarray], num_examples: int) -> "ArrayColumns":
        """The columns among arrays, by their types and shapes. NAME_mask is the mask of NAME, and no column itself."""
        found = {key: array for key, array in arrays.items() if _is_column(array, num_examples)}
        numeric = [key for key, array in found.items() if array.dtype.kind != "U"]
        masks = {key: arrays[_MASK.format(key)] for key in numeric if _MASK.format(key) in arrays}
        names_of_masks = {_MASK.format(key) for key in masks}
        return cls(name, {key: array for key, array in found.items() if key not in names_of_masks}, masks)

    def __getitem__(self, name: str) -> Any:
        array = self.arrays[name]
        if array.dtype.kind == "U":
            return array.tolist()
        mask = self.masks.get(name)
        if mask is None:
            return array if array.ndim == 2 else list(array)
        if mask.shape != array.shape[:-1] or not np.isin(mask, (0, 1)).all():
            raise ValueError(
                f"{self.name}: {_MASK.format(name)}: expected booleans of shape {array.shape[:-1]}, for the real "
                f"vectors of {name}, got {mask.dtype} of shape {mask.shape}"
            )
        if array.ndim == 2:
            return [vector if is_real else None for vector, is_real in zip(array, mask, strict=True)]
        return [vectors[is_real] for vectors, is_real in zip(array, mask.astype(bool), strict=True)]

    def __contains__(self, name: object) -> bool:
        return name in self.arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)


def _is_column(array: np.ndarray, num_examples: int) -> bool:
    if not array.ndim or len(array) != num_examples:
        return False
    return array.ndim in ((1, 2) if array.dtype.kind == "U" else (2, 3) if array.dtype.kind in "iuf" else ())
