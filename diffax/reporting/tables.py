"""Tables as text: aligned columns for a terminal, Markdown and CSV; and a value with its standard error."""

import csv
import io
import math
from collections.abc import Sequence


def with_error(value: float, standard_error: float | None, digits: int = 4) -> str:
    """0.1169 +- 0.0049, with the error to two significant digits and the value to the same place."""
    if standard_error is None or not math.isfinite(standard_error) or standard_error <= 0:
        return f"{value:.{digits}g}"
    decimals = max(0, 1 - math.floor(math.log10(standard_error)))
    return f"{value:.{decimals}f} +- {standard_error:.{decimals}f}"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest entry."""
    widths = [max(len(str(row[column])) for row in (header, *rows)) for column in range(len(header))]
    lines = (
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; pipes in cells are escaped."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]]) + "\n"


def comma_separated(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
