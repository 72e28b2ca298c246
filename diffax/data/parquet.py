"""Parquet files with a column of encoded images, the format of image datasets on the Hugging Face Hub."""

import dataclasses
from collections.abc import Sequence
from typing import Any, final

from diffax.data import paths
from diffax.data.decoding import Form, form_of
from diffax.data.source import Example

_IMAGES, _LABELS = ("image", "img", "images"), ("label", "labels", "fine_label")


@final
@dataclasses.dataclass(frozen=True)
class Parquet:
    """Images of Parquet files as a `data.source.Source`; made by `open_parquet`.

    encoded: the encoded bytes of every image.
    where: the file and row of every image, for error messages.
    """

    name: str
    form: Form
    class_names: Sequence[str] | None
    encoded: Sequence[bytes]
    labels: Sequence[int] | None
    where: Sequence[str]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every decoded image."""
        return self.form.shape

    def __len__(self) -> int:
        return len(self.encoded)

    def example(self, index: int) -> Example:
        """Decodes one image. Raises CorruptExample, whose message names the file and the row."""
        pixels = self.form.decode(self.encoded[index], self.where[index])
        return Example(pixels, None if self.labels is None else self.labels[index])


def open_parquet(split: str, *, path: str = "", size: int | None = None, channels: int | None = None) -> Parquet:
    """Opens a Parquet file, or the Parquet files in a folder whose names begin with the split (train-00000-of-....).

    Images are the cells of a column image, img or images: encoded bytes, or {"bytes": ..., "path": ...}. Labels, if
    any, are in a column label, labels or fine_label. The encoded images stay in host memory. Needs pyarrow
    (pip install 'diffax[parquet]').

    Args:
      split: train or test.
      path: the file or the folder.
      size: the side of the square that every image is center-cropped and resized to, with antialiasing; None if all
        images have the size of the first.
      channels: 1 for grey, 3 for colour; None for the channels of the first image.

    Raises:
      ValueError: no path, no pyarrow, no such file, or no column of images.
    """
    root = paths.required(path, "parquet")
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'diffax[parquet]'") from None
    files = [root] if root.is_file() else sorted(root.rglob(f"{split}*.parquet"))
    if not files:
        raise ValueError(f"data.path = {str(root)!r} is neither a Parquet file nor a folder with {split}*.parquet")
    encoded: list[bytes] = []
    labels: list[Any] = []
    where: list[str] = []
    for file in files:
        try:
            table = parquet.read_table(file)
        except (OSError, ArrowException) as error:
            raise ValueError(f"{file}: cannot be read as a Parquet file ({error})") from error
        names = table.column_names
        image = next((name for name in _IMAGES if name in names), None)
        if image is None:
            raise ValueError(f"{file}: expected a column {' or '.join(_IMAGES)}, got {', '.join(names)}")
        cells = table.column(image).to_pylist()
        encoded += [(cell["bytes"] if isinstance(cell, dict) else cell) or b"" for cell in cells]
        where += [f"{file}, row {row}" for row in range(len(cells))]
        label = next((name for name in _LABELS if name in names), None)
        labels += table.column(label).to_pylist() if label is not None else []
    if labels and (len(labels) != len(encoded) or any(label is None or label < 0 for label in labels)):
        raise ValueError(f"{root}: expected a class >= 0 for every image, or none at all")
    form = form_of(encoded[0], where[0], size=size, channels=channels)
    classes = [str(label) for label in range(max(labels) + 1)] if labels else None
    return Parquet(f"{root.stem}/{split}", form, classes, encoded, labels or None, where)
