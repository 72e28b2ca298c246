"""The axes of a chart: the range of its data, linear or logarithmic, and the ticks on it."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from diffax.reporting import formats

_MARGIN = 0.04  # of the range, on both sides


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis: its range, whether it is logarithmic, and its ticks with their labels."""

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    @classmethod
    def of(
        cls, values: Iterable[np.ndarray], *, log: bool = False, labels: Mapping[float, str] | None = None
    ) -> "Axis":
        """The axis that all finite values fit on; of a logarithmic one all positive values.

        labels: the ticks, instead of ones at round numbers.
        """
        joined = np.concatenate([np.zeros(0), *(np.ravel(array) for array in values)])
        shown = joined[visible(joined, log=log)]
        low, high = (float(shown.min()), float(shown.max())) if len(shown) else (1.0, 10.0) if log else (0.0, 1.0)
        if log:
            low, high = _widened(math.log10(low), math.log10(high), 0.3)
            low, high = 10**low, 10**high
        else:
            low, high = _widened(low, high, max(abs(low), 1) / 2)
        ticks = _ticks(low, high, log) if labels is None else [value for value in labels if low <= value <= high]
        named = labels or {}
        return cls(low, high, log, tuple((value, named.get(value, formats.tick(value))) for value in ticks))

    def position(self, values: Any) -> Any:
        """Where values are on the axis, 0 at its low end and 1 at its high end; clipped to it."""
        low, high = self.low, self.high
        values = np.asarray(values, np.float64)
        if self.log:
            values, low, high = np.log(np.maximum(values, low)), math.log(low), math.log(high)
        return np.clip((values - low) / (high - low), 0, 1)


def visible(values: np.ndarray, *, log: bool = False) -> np.ndarray:
    """Which values an axis can show: finite ones, and on a logarithmic axis positive ones."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(values) & ((values > 0) | (not log))


def _widened(low: float, high: float, least: float) -> tuple[float, float]:
    margin = _MARGIN * (high - low) if high > low else least
    return low - margin, high + margin


def _ticks(low: float, high: float, log: bool) -> list[float]:
    from matplotlib import ticker

    if log and high / low >= 4:
        subs = (1.0,) if high / low >= 1000 else (1.0, 2.0, 5.0)
        found = ticker.LogLocator(subs=subs, numticks=7).tick_values(low, high)
    else:
        found = ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    # A rounding error of 0 would be labelled as one.
    return [0.0 if abs(value) < 1e-9 * (high - low) else float(value) for value in found if low <= value <= high]
