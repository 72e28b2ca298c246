"""Metrics logging: what a run measures, checked and passed on to its loggers."""

import os
import warnings
from collections.abc import Mapping
from typing import Any, SupportsInt, final

import numpy as np

from diffax.reporting.loggers import Logger
from diffax.reporting.loggers.jsonl import FILENAME, Jsonl, read

__all__ = ["FILENAME", "MetricsWriter", "read"]


@final
class MetricsWriter:
    """The loggers of a run as one: metrics.jsonl, as for `loggers.Jsonl`, and others by their keys.

    Another logger that fails, for want of a network or a disk, is reported by a warning and left out from then on:
    training goes on. A writer that is not enabled writes nothing: of the several processes of a run, one writes.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        resume_step: int | None = None,
        *,
        measure_again: bool = False,
        loggers: Mapping[str, Logger] | None = None,
        enabled: bool = True,
    ):
        self._jsonl = Jsonl(workdir, resume_step, measure_again=measure_again) if enabled else None
        self._loggers = dict(loggers or {}) if enabled else {}

    def write(self, step: SupportsInt, metrics: Mapping[str, Any]) -> None:
        """Writes the metrics of a step: scalars (Python, NumPy or JAX) or strings.

        Raises:
            ValueError: a value that is not a scalar, or a metric called "step".
        """
        if "step" in metrics:
            raise ValueError('a metric cannot be called "step", which names the step of the line; rename it')
        values = {name: _scalar(name, value) for name, value in metrics.items()}
        if self._jsonl is not None:
            self._jsonl.write(int(step), values)
        self._each("write", int(step), values)

    def write_pictures(self, step: SupportsInt, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes the pictures of a step, uint8 (height, width, 1 or 3), to the loggers that take pictures."""
        self._each("write_pictures", int(step), pictures)

    def close(self) -> None:
        """Closes the loggers; the writer cannot be used afterwards."""
        if self._jsonl is not None:
            self._jsonl.close()
        self._each("close")

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _each(self, method: str, *arguments: Any) -> None:
        """Calls a method of every logger beside metrics.jsonl."""
        for key, logger in list(self._loggers.items()):
            try:
                getattr(logger, method)(*arguments)
            except Exception as error:
                del self._loggers[key]
                message = " ".join(str(error).split())
                warnings.warn(
                    f"logger {key}: {type(error).__name__}: {message}; it is left out from here on", stacklevel=3
                )


def _scalar(name: str, value: Any) -> int | float | str:
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.ndim != 0:
        raise ValueError(f"metric {name!r} must be a scalar, got shape {array.shape}; reduce it before writing")
    if array.dtype.kind in "biu":
        return array.item()
    try:
        return float(array)
    except (TypeError, ValueError):
        raise ValueError(f"metric {name!r} must be a number or a string, got {type(value).__name__}") from None
