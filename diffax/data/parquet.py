"""Parquet files with a column of encoded images, as Hugging Face writes image datasets."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any, final

from diffax.data.decoding import Form, form_of
from diffax.data.source import Example

_IMAGES, _LABELS = ("image", "img", "images"), ("label", "labels", "fine_label")


@final
@dataclasses.dataclass(frozen=True)
class Parquet:
    """See open_parquet. encoded: the bytes of every image; where: what an error calls it."""

    name: str
    form: Form
    class_names: Sequence[str] | None
    encoded: Sequence[bytes]
    labels: Sequence[int] | None
    where: Sequence[str]

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.form.shape

    def __len__(self) -> int:
        return len(self.encoded)

    def example(self, index: int) -> Example:
        pixels = self.form.decode(self.encoded[index], self.where[index])
        return Example(pixels, None if self.labels is None else self.labels[index])


def open_parquet(path: pathlib.Path, split: str, *, size: int | None = None, channels: int | None = None) -> Parquet:
    """The images of a Parquet file, or of those in a folder whose names begin with the split (train-00000-of-....).

    Images are the cells of a column image or img: encoded bytes, or {"bytes": ..., "path": ...}. Labels, if any, are
    those of a column label, labels or fine_label. Needs pyarrow (pip install 'diffax[parquet]'). The encoded images
    are held in memory.

    Raises:
      ValueError: no pyarrow, no such file, or no column of images.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ValueError("Parquet files need pyarrow: pip install 'diffax[parquet]'") from None
    paths = [path] if path.is_file() else sorted(path.rglob(f"{split}*.parquet"))
    if not paths:
        raise ValueError(f"data.path = {str(path)!r} is neither a Parquet file nor a folder with {split}*.parquet")
    encoded: list[bytes] = []
    labels: list[Any] = []
    where: list[str] = []
    for file in paths:
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
        raise ValueError(f"{path}: expected a class >= 0 for every image, or none at all")
    form = form_of(encoded[0], where[0], size=size, channels=channels)
    classes = [str(label) for label in range(max(labels) + 1)] if labels else None
    return Parquet(f"{path.stem}/{split}", form, classes, encoded, labels or None, where)
