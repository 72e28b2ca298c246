"""Numbers as text: a few significant digits, values with their standard errors, tick labels."""

import math
from typing import Any

_SUFFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: Any) -> str:
    """A value of a table: whole numbers in full (12,000), others with four significant digits, None as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if math.isfinite(value) and value == round(value) and 1e4 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def with_error(value: float | int | None, standard_error: float | int | None) -> str:
    """A measured value with its standard error, which has two significant digits: 0.1234 ± 0.0056.

    Without an error, or with one that is not finite or not positive, the value alone.
    """
    if value is None or standard_error is None or not math.isfinite(standard_error) or standard_error <= 0:
        return number(value)
    if not math.isfinite(value):
        return f"{value:.4g} ± {standard_error:.2g}"
    decimals = max(1 - math.floor(math.log10(standard_error)), 0)
    if decimals > 6:
        return f"{value:.4g} ± {standard_error:.1e}"
    return f"{value:,.{decimals}f} ± {standard_error:,.{decimals}f}"


def cell(value: float | int | None, standard_error: float | int | None) -> str | float | int | None:
    """The cell of a table for a measured value: `with_error` where its error is known, else the number."""
    return value if standard_error is None else with_error(value, standard_error)


def remarked(text: str, remark: str | None) -> str:
    """A cell with its remark behind it: 0.1234 ± 0.0056 (trained on these features)."""
    return f"{text} ({remark})" if remark else text


def tick(value: float | int) -> str:
    """The label of a tick: 0.25, 100, 20k, 1.5M, 1e-05."""
    for size, suffix in _SUFFIXES:
        if abs(value) >= max(size, 1e4):
            return f"{value / size:.4g}{suffix}"
    return f"{value:.4g}"
