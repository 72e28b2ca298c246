"""Columns of a dataset: captions, vectors and sequences of vectors beside its images and labels, by name.

A source has them as its attribute `columns`, a Mapping from a name to raw cells, one for every example, which may be
read from disk whenever a name is looked up. `data.examples.Examples` have them as `Columns`, normalised and checked.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import numpy as np
from jaxtyping import Int64

from diffax.data import column
from diffax.data.column import Content


@final
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Columns(Mapping[str, Any]):
    """A Mapping from the names of columns to their contents, which are read and checked at every look-up.

    Nothing is kept between look-ups: keep the content. Looking up a name raises KeyError if there is none, and
    ValueError, with one line, for cells that `data.column.normalised` refuses.

    name: the name of the dataset in error messages.
    raw: the names to raw cells.
    num_raw: how many cells each raw column has.
    rows: which of them are examples of this dataset, in order; None for all.
    row_name: a raw row to its name in error messages.
    is_read_late: whether `validate` leaves the contents to the look-ups, as for columns on disk.
    """

    name: str
    raw: Mapping[str, Any]
    num_raw: int
    rows: Int64[np.ndarray, " rows"] | None = None
    row_name: Callable[[int], str] = column.numbered
    is_read_late: bool = True

    @classmethod
    def of(cls, data: Any, *, name: str, num_examples: int) -> "Columns":
        """The columns of a dataset or source, which are none if it has no attribute `columns`."""
        return cls.wrapped(getattr(data, "columns", None), name=name, num_examples=num_examples)

    @classmethod
    def wrapped(cls, raw: Mapping[str, Any] | None, *, name: str, num_examples: int) -> "Columns":
        """Columns of raw cells; `validate` reads those of a dict at once. Columns are returned as they are."""
        if isinstance(raw, cls):
            return raw
        return cls(name, {} if raw is None else raw, num_examples, is_read_late=not isinstance(raw, dict))

    def __getitem__(self, name: str) -> Content:
        cells, what = self.raw[name], f"{self.name}: column {name}"
        if isinstance(cells, str) or not hasattr(cells, "__len__") or not hasattr(cells, "__getitem__"):
            raise ValueError(f"{what}: expected a list or array of cells, one per example, got {type(cells).__name__}")
        if len(cells) != self.num_raw:
            raise ValueError(f"{what}: expected {self.num_raw:,} cells, one per example, got {len(cells):,}")
        if self.rows is None:
            return column.normalised(cells, what, self.row_name)
        rows = self.rows
        return column.normalised(column.select(cells, rows), what, lambda index: self.row_name(int(rows[index])))

    def __contains__(self, name: object) -> bool:
        return name in self.raw

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def __len__(self) -> int:
        return len(self.raw)

    def __repr__(self) -> str:
        return f"Columns({', '.join(self.raw)})"

    @property
    def num_examples(self) -> int:
        """The number of examples."""
        return self.num_raw if self.rows is None else len(self.rows)

    def selected(self, rows: Int64[np.ndarray, " rows"]) -> "Columns":
        """The columns of some of the examples, in the order of `rows`, which may repeat. Reads nothing."""
        if not len(self):
            return self
        chosen = np.asarray(rows, np.int64) if self.rows is None else self.rows[rows]
        return dataclasses.replace(self, rows=chosen)

    def validate(self, num_examples: int) -> "Columns":
        """Returns self, or raises ValueError for another number of examples or, unless read late, invalid cells."""
        if len(self) and self.num_examples != num_examples:
            raise ValueError(
                f"{self.name}: expected columns of {num_examples:,} examples, got {self.num_examples:,}: select the "
                "same rows of both"
            )
        for name in () if self.is_read_late else self:
            self[name]
        return self


def described(examples: Any) -> list[str]:
    """One line on every column: its kind, its size, and how many examples have none. Reads all columns.

    For example "caption: texts, 3 wordings each, 12 of 1,500 examples have none" or "embedding: vectors of 384".
    """
    lines = []
    for name in (found := getattr(examples, "columns", {})):
        try:
            lines.append(f"{name}: {_description(found[name])}")
        except ValueError as error:
            lines.append(f"{name}: cannot be used ({error})")
    return lines


def _description(content: Content) -> str:
    kind, gaps = column.kind(content), column.missing(content)
    if gaps.all():
        return "no example has one"
    lengths = [0 if cell is None else len(cell) for cell in content]
    span = _span([length for length, gap in zip(lengths, gaps, strict=True) if not gap])
    if kind == column.TEXTS:
        what = f"texts, {span} wording{'' if span == '1' else 's'} each"
    elif kind == column.VECTORS:
        what = f"vectors of {column.size(content)}"
    else:
        what = f"sequences of {span} vectors of {column.size(content)}"
    num_gaps = int(gaps.sum())
    verb = "has" if num_gaps == 1 else "have"
    return what + (f", {num_gaps:,} of {len(gaps):,} examples {verb} none" if num_gaps else "")


def _span(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
