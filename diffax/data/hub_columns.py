"""Columns of a Hugging Face data set: which holds the images, which the classes, and the list of classes."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from diffax.data.dataset import listed

_IMAGES = ("image", "img", "images", "png", "jpg", "jpeg", "webp")  # the last are WebDataset's
_LABELS = ("label", "labels", "fine_label", "class", "cls")
_MOST_CLASSES = 100_000


def image_column(path: str, features: Mapping[str, Any], name: str | None) -> str:
    """The column of images: `name`, the first of feature type Image, or one of bytes with a usual name.

    Raises:
      ValueError: no such column, or one that holds no images.
    """
    usual = [column for column in _IMAGES if column in features]
    typed = [column for column, feature in features.items() if _kind(feature) == "Image"]
    found = name or next((column for column in [*usual, *typed] if _holds_images(features[column])), None)
    if found is None or found not in features or not _holds_images(features[found]):
        wanted = "a column of images" if name is None else f"images in data.image_column = {name!r}"
        raise ValueError(f"{path}: expected {wanted}, got {_described(features)}")
    return found


def label_column(path: str, features: Mapping[str, Any], name: str | None) -> str | None:
    """The column of classes: `name`, one with a usual name, or the only ClassLabel; None for none.

    Raises:
      ValueError: no such column, or one that holds neither integers nor names.
    """
    if name == "":
        return None
    typed = [column for column, feature in features.items() if _kind(feature) == "ClassLabel"]
    found = name or next((column for column in _LABELS if column in features), typed[0] if len(typed) == 1 else None)
    if found is None:
        return None
    if found not in features:
        raise ValueError(f"{path}: expected a column data.label_column = {name!r}, got {_described(features)}")
    kind = _kind(features[found])
    if kind not in ("ClassLabel", "string", "large_string", "bool") and not kind.startswith(("int", "uint")):
        raise ValueError(
            f"{path}: the column {found} holds {kind}, and classes are integers or names: set data.label_column to "
            "another column, or '' for none"
        )
    return found


@dataclasses.dataclass(frozen=True)
class Cells:
    """Random access to one column as it is stored: bytes, or {"bytes": ..., "path": ...}.

    Read as Arrow, because `datasets` would decode images, and its own column object takes a hundred times as long.
    """

    split: Any

    @classmethod
    def of(cls, split: Any, column: str) -> "Cells":
        """The cells of a column."""
        return cls(split.select_columns([column]).with_format("arrow"))

    def __getitem__(self, row: int) -> Any:
        return self.split[row].column(0)[0].as_py()


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of the training split, and the numbers that its cells stand for."""

    names: tuple[str, ...]
    by_cell: Mapping[Any, int]

    def numbers(self, where: str, split: Any, column: str) -> list[int]:
        """The number of the class of every row.

        Raises:
          ValueError: a row without a class, or of a class that the training split does not have.
        """
        cells = split.select_columns([column])[:][column]
        for row, cell in enumerate(cells):
            if cell not in self.by_cell:
                what = "no class" if cell is None else f"class {cell!r}"
                raise ValueError(
                    f"{where}, row {row}: the column {column} has {what}, and the classes of the training split are "
                    f"{listed(self.names)}; set data.label_column='' to train without classes"
                )
        return [self.by_cell[cell] for cell in cells]


def classes(where: str, train: Any, column: str) -> Classes:
    """The class list of the training split.

    Raises:
      ValueError: a row without a class, or a negative number.
    """
    feature = train.features[column]
    if _kind(feature) == "ClassLabel":
        return Classes(tuple(feature.names), {number: number for number in range(len(feature.names))})
    cells = train.unique(column)
    if any(cell is None for cell in cells):
        raise ValueError(f"{where}: expected a class in the column {column} of every row, and some have none")
    if all(isinstance(cell, int) and not isinstance(cell, bool) for cell in cells):
        if min(cells) < 0 or max(cells) >= _MOST_CLASSES:
            raise ValueError(
                f"{where}: the column {column} must hold classes 0, 1, 2, ..., got {min(cells)} to {max(cells)}"
            )
        numbers = range(max(cells) + 1)
        return Classes(tuple(map(str, numbers)), {number: number for number in numbers})
    ordered = sorted(cells)
    return Classes(tuple(map(str, ordered)), {cell: number for number, cell in enumerate(ordered)})


def _kind(feature: Any) -> str:
    """Image, ClassLabel, or what the cells are: int64, string, binary, list, struct."""
    name = type(feature).__name__
    if name == "Value":
        return str(feature.dtype)
    return "struct" if isinstance(feature, dict) else name


def _holds_images(feature: Any) -> bool:
    kind = _kind(feature)
    return kind in ("Image", "binary", "large_binary") or (kind == "struct" and "bytes" in feature)


def _described(features: Mapping[str, Any]) -> str:
    return listed([f"{name} ({_kind(feature)})" for name, feature in features.items()]) or "no columns"
