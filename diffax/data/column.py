"""One column of a dataset: texts, vectors, or sequences of vectors, one cell for every example.

Sources read raw cells of many types. `normalised` checks them and returns one of the three contents below.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64

# Alternative wordings of every example; an empty tuple where there is none.
Texts = list[tuple[str, ...]]
# All of one size.
Vectors = Float32[np.ndarray, "n size"]
# Vectors (size,), or sequences of vectors (length, size) of any length and one size; None where there is none.
Partial = list[np.ndarray | None]
Content = Texts | Vectors | Partial

TEXTS, VECTORS, SEQUENCES, NOTHING = "texts", "vectors", "sequences", "nothing"
_EXPECTED = "expected a text, a list of texts, a vector of numbers or a list of vectors"
_Cell = tuple[str, ...] | np.ndarray | None


def numbered(row: int) -> str:
    """The name of a row in messages: row 3."""
    return f"row {row}"


def kind(content: Content) -> str:
    """TEXTS, VECTORS or SEQUENCES; NOTHING for a column of None only."""
    if isinstance(content, np.ndarray):
        return VECTORS
    return next((_kind(cell) for cell in content if cell is not None), NOTHING)


def size(content: Content) -> int | None:
    """The length of each vector; None for texts and for a column of None only."""
    cell = next((cell for cell in content if cell is not None), None)
    return cell.shape[-1] if isinstance(cell, np.ndarray) else None


def missing(content: Content) -> Bool[np.ndarray, " n"]:
    """Which examples have neither a wording, a vector nor a sequence."""
    if isinstance(content, np.ndarray):
        return np.zeros(len(content), bool)
    return np.array([cell is None or len(cell) == 0 for cell in content], bool)


def select(content: Any, rows: Int64[np.ndarray, " rows"]) -> Any:
    """The rows of a column, normalised or raw: an array for an array, a list for any other sequence."""
    return content[rows] if isinstance(content, np.ndarray) else [content[row] for row in rows.tolist()]


def normalised(raw: Any, what: str, row_name: Callable[[int], str] = numbered) -> Content:
    """Converts raw cells to texts, vectors or sequences, and checks them.

    A raw cell is a string, a list of strings (alternative wordings), a list or array of numbers (a vector), a list of
    such or a 2-D array (a sequence of vectors), or None, an empty list or a blank string for none. None among
    strings is ignored. Wordings are stripped of white space; numbers become float32. A column without any cell is a
    list of None, or of empty tuples if there are blank strings or empty tuples in it.

    Args:
      raw: an array (n, size), (n, length, size) or of strings, or a sequence of cells.
      what: the name of the column in error messages.
      row_name: the row to its name in error messages.

    Raises:
      ValueError: cells of several kinds or sizes, numbers that are not finite, or cells of another type.
    """
    if isinstance(raw, np.ndarray) and raw.ndim == 2 and raw.dtype.kind in "iuf" and raw.size:
        vectors = _float32(raw)
        _check_finite(raw, vectors, lambda row: f"{what}, {row_name(row)}")
        return vectors
    cells: list[_Cell] = [_normalised_cell(cell, f"{what}, {row_name(row)}") for row, cell in enumerate(raw)]
    rows = [row for row, cell in enumerate(cells) if cell is not None and len(cell)]
    if not rows:
        no_text: Texts = [()] * len(cells)
        nothing: Partial = [None] * len(cells)
        return no_text if any(isinstance(cell, tuple) for cell in cells) else nothing
    first, expected = rows[0], _described(cells[rows[0]])
    for row in rows:
        if (found := _described(cells[row])) != expected:
            raise ValueError(
                f"{what}, {row_name(row)}: expected {expected} as in {row_name(first)}, got {found}: give every "
                "example the same, or none"
            )
    if _kind(cells[first]) == TEXTS:
        return [cell if isinstance(cell, tuple) else () for cell in cells]
    whole = len(rows) == len(cells) and _kind(cells[first]) == VECTORS
    partial = [cell if isinstance(cell, np.ndarray) and len(cell) else None for cell in cells]
    return np.stack([cell for cell in partial if cell is not None]) if whole else partial


def _normalised_cell(cell: Any, where: str) -> _Cell:
    """A tuple of wordings, a float32 array of 1 or 2 axes, or None."""
    if cell is None:
        return None
    if isinstance(cell, np.ndarray) and cell.dtype.kind == "U":
        cell = cell.reshape(-1).tolist()
    if isinstance(cell, str):
        cell = (cell,)
    if isinstance(cell, list | tuple) and any(isinstance(entry, str) for entry in cell):
        return _wordings(cell, where)
    if not isinstance(cell, Sequence | np.ndarray) or isinstance(cell, bytes):
        raise ValueError(f"{where}: {_EXPECTED}, got {_shown(cell)}")
    if not len(cell) or all(entry is None for entry in cell):
        return () if isinstance(cell, tuple) else None
    try:
        numbers = np.asarray(cell)
    except ValueError:
        numbers = None
    if numbers is None or (numbers.dtype.kind == "O" and all(isinstance(entry, Sequence) for entry in cell)):
        raise ValueError(f"{where}: expected vectors of one size, got {_sizes(cell)}")
    if numbers.dtype.kind not in "iuf" or numbers.ndim not in (1, 2):
        raise ValueError(f"{where}: {_EXPECTED}, got {_shown(cell)}")
    if not numbers.size:
        return None
    converted = _float32(numbers)
    _check_finite(numbers[None], converted[None], lambda _: where)
    return converted


def _wordings(cell: Sequence[Any], where: str) -> tuple[str, ...]:
    other = next((entry for entry in cell if not isinstance(entry, str | None)), None)
    if other is not None:
        raise ValueError(f"{where}: expected texts only, got {_shown(other)} among them")
    stripped = (str(entry).strip() for entry in cell if entry is not None)
    return tuple(wording for wording in stripped if wording)


def _float32(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32, copy=False)


def _check_finite(raw: np.ndarray, converted: np.ndarray, where: Callable[[int], str]) -> None:
    """Names the first number that is not finite in float32."""
    if not (finite := np.isfinite(converted)).all():
        first = tuple(int(index) for index in np.argwhere(~finite)[0])
        position = first[1] if len(first) == 2 else first[1:]
        raise ValueError(
            f"{where(first[0])}: expected finite numbers, got {raw[first]} at position {position}: mend it, or leave "
            "this example without one"
        )


def _kind(cell: _Cell) -> str:
    if isinstance(cell, tuple):
        return TEXTS
    return VECTORS if cell is not None and cell.ndim == 1 else SEQUENCES


def _described(cell: _Cell) -> str:
    """What all cells of a column have in common."""
    if isinstance(cell, np.ndarray):
        return f"{'a vector' if cell.ndim == 1 else 'a sequence of vectors'} of {cell.shape[-1]} numbers"
    return "text"


def _sizes(cell: Sequence[Any] | np.ndarray) -> str:
    """The first two different lengths of vectors."""
    sizes = list(dict.fromkeys(len(entry) if isinstance(entry, Sequence | np.ndarray) else 1 for entry in cell))
    return " and ".join(map(str, sizes[:2]))


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
