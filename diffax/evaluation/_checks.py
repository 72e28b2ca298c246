"""Checks of features: what every metric refuses, in one line that says what was expected and what came."""

import warnings
from collections.abc import Iterator

import numpy as np

# Rows that are converted to float64 at a time: 34 MB for 2,048 features.
ROWS = 2048


def blocks(num_rows: int, size: int | None = None) -> Iterator[slice]:
    """Slices of at most `size` rows, ROWS unless given, that cover num_rows."""
    size = size or ROWS
    for start in range(0, num_rows, size):
        yield slice(start, min(start + size, num_rows))


def features(values: np.ndarray, *, name: str = "features", least: int = 1) -> np.ndarray:
    """The features (n, dim) as an array of their own dtype.

    Args:
      name: of the array in errors, such as "generated features".
      least: the smallest number of samples allowed.

    Raises:
      ValueError: another shape, fewer samples, or values that are not finite.
    """
    values = np.asarray(values)
    if values.ndim != 2 or len(values) < least or values.shape[1] < 1 or values.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must be numbers of shape (n >= {least}, dim >= 1), got {values.dtype} of shape {values.shape}"
        )
    finite = np.concatenate([np.isfinite(values[rows]).all(axis=1) for rows in blocks(len(values))])
    if not finite.all():
        raise ValueError(
            f"{name} of {int((~finite).sum())} of {len(values)} samples are not finite (NaN or infinite): the first "
            f"is number {int(np.argmin(finite))}"
        )
    return values


def pair(generated: np.ndarray, reference: np.ndarray, *, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of features, checked, with at least `least` samples each.

    Gives a UserWarning if all samples of a set have the same features.

    Raises:
      ValueError: what `features` refuses, or sets of different dimensions.
    """
    generated = features(generated, name="generated features", least=least)
    reference = features(reference, name="reference features", least=least)
    same_dim(generated.shape[1], reference.shape[1])
    for what, values in (("generated", generated), ("reference", reference)):
        if len(values) > 1 and all((values[rows] == values[0]).all() for rows in blocks(len(values))):
            warn_of_constant(what, len(values))
    return generated, reference


def warn_of_constant(what: str, count: int) -> None:
    """Gives the UserWarning of a set whose samples all have the same features."""
    warnings.warn(
        f"all {count} {what} samples have the same features: has the model collapsed, or does the extractor ignore its "
        "input?",
        UserWarning,
        stacklevel=4,
    )


def same_dim(generated: int, reference: int) -> None:
    """Raises ValueError for features of different dimensions."""
    if generated != reference:
        raise ValueError(
            f"both sets must have features of one dimension, got {generated} generated and {reference} reference: were "
            "they computed by the same extractor?"
        )


def at_least(name: str, value: int, least: int) -> None:
    """Raises ValueError for an option below the smallest value that it can take."""
    if value < least:
        raise ValueError(f"{name} must be >= {least}, got {value}")
