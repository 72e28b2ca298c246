"""A row of the comparison as lines of text."""

from typing import Any

import numpy as np


def of_row(what: str, found: dict[str, dict[str, Any]]) -> str:
    """The cells of a row, a line each: medians, quartiles, ratios to the first column, and memory."""
    first = next(iter(found.values()))
    return "\n".join([what, *(f"  {column:<30}{_cell(cell, first)}" for column, cell in found.items())])


def ratios(cell: dict[str, Any], first: dict[str, Any], of: str = "seconds") -> np.ndarray:
    """The first column's calls divided by the neighbouring calls of another: below 1, the first is faster."""
    calls = zip(first["calls"], cell["calls"], strict=False)
    return np.array([one[of] / other[of] for one, other in calls])


def _cell(cell: dict[str, Any], first: dict[str, Any]) -> str:
    if "error" in cell:
        return f"failed: {cell['error'][:80]}"
    if "cold" in cell:
        return f"{np.median(cell['cold']):>10.4g} s cold {np.median(cell['warm']):>10.4g} s warm"
    seconds = np.array([call["seconds"] for call in cell["calls"]])
    low, middle, high = np.quantile(seconds, (0.25, 0.5, 0.75))
    line = f"{middle:>10.4g} s ({low:.4g} to {high:.4g})"
    if cell["amount"]:
        line += f" {cell['amount'] / middle:.4g} {cell['unit']}"
    if cell is not first and "error" not in first:
        low, middle, high = np.quantile(ratios(cell, first), (0.25, 0.5, 0.75))
        line += f"; first / this {middle:.2f} ({low:.2f} to {high:.2f})"
    return f"{line}; {cell['peak_bytes'] / 1e9:.2f} GB; first call after {cell['ready_seconds']:.0f} s"
