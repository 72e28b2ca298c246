"""Metrics logging: JSON Lines in metrics.jsonl, and TensorBoard event files beside it."""

import json
import math
import os
import pathlib
import time
import warnings
from collections.abc import Mapping
from typing import Any, SupportsInt, TextIO, final

import numpy as np

from diffax.reporting import atomic

FILENAME = "metrics.jsonl"


@final
class MetricsWriter:
    """A metrics logger that appends to a run directory; every line is flushed before `write` returns.

    On opening, a line that a crash left half-written is dropped. With resume_step = k every line of a step > k is
    dropped too, because the resumed run writes those steps again; TensorBoard's event files get a purge marker for
    them. A writer that is not enabled writes nothing: of the several processes of a run, one writes.

    With measure_again = True the lines of step k after the first, that of training itself, are dropped as well: the
    resumed run measures that step again.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        resume_step: int | None = None,
        *,
        measure_again: bool = False,
        write_tensorboard: bool = True,
        enabled: bool = True,
    ):
        self._workdir = pathlib.Path(workdir)
        self._resume_step = resume_step
        self._write_tensorboard = write_tensorboard
        self._tensorboard: Any = None
        self._file: TextIO | None = None
        if not enabled:
            return
        self._workdir.mkdir(parents=True, exist_ok=True)
        path = self._workdir / FILENAME
        if path.exists():
            _drop_lines(path, resume_step, measure_again)
        self._file = open(path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115, closed by close

    def write(self, step: SupportsInt, metrics: Mapping[str, Any]) -> None:
        """Appends the line {"step": step, **metrics}.

        Values are scalars (Python, NumPy or JAX) or strings. JSON has no NaN and no infinities, which are written as
        the strings "nan", "inf" and "-inf"; `read` converts them back. TensorBoard gets the numbers only.

        Raises:
            ValueError: a value that is not a scalar, or a metric called "step".
        """
        if "step" in metrics:
            raise ValueError('a metric cannot be called "step", which names the step of the line; rename it')
        values = {name: _scalar(name, value) for name, value in metrics.items()}
        record = {"step": int(step), **{name: _to_json(value) for name, value in values.items()}}
        if self._file is None:
            return
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()
        numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
        if self._write_tensorboard and numbers:
            self._add_to_tensorboard(int(step), numbers)

    def close(self) -> None:
        """Closes the files; the writer cannot be used afterwards."""
        if self._file is not None:
            self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()
            self._tensorboard = None

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add_to_tensorboard(self, step: int, numbers: Mapping[str, int | float]) -> None:
        if self._tensorboard is None:
            import tensorboardX

            # The file name has only the host and the second. Without a suffix a quick restart would truncate the file
            # of the run before.
            suffix = f".{os.getpid()}.{time.time_ns() % 10**9}"
            purge_step = None if self._resume_step is None else self._resume_step + 1
            self._tensorboard = tensorboardX.SummaryWriter(
                str(self._workdir), purge_step=purge_step, flush_secs=10, filename_suffix=suffix
            )
        for name, value in numbers.items():
            self._tensorboard.add_scalar(name, float(value), step)


def read(workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads a run directory's metrics.jsonl, one dictionary a line; unreadable lines are left out.

    Non-finite numbers are restored: the strings "nan", "inf" and "-inf" become numbers.
    """
    non_finite = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    records = (_parse(line) for line in _lines(pathlib.Path(workdir) / FILENAME))
    return [
        {name: non_finite.get(value, value) if isinstance(value, str) else value for name, value in record.items()}
        for record in records
        if record is not None
    ]


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


def _to_json(value: int | float | str) -> int | float | str:
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: pathlib.Path) -> list[str]:
    # A crash can cut a character in half; the line with that character is then invalid JSON and is dropped.
    text = path.read_text(encoding="utf-8", errors="replace")
    return text.removesuffix("\n").split("\n") if text else []


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def _drop_lines(path: pathlib.Path, resume_step: int | None, measure_again: bool) -> None:
    lines = _lines(path)
    records = [_parse(line) for line in lines]
    bad = [number for number, record in enumerate(records, start=1) if record is None]
    if bad:
        warnings.warn(f"{path}: dropped unreadable lines {bad}, left by an interrupted write", stacklevel=3)
    last_step = math.inf if resume_step is None else resume_step
    remaining, steps = [], set[int]()
    for line, record in zip(lines, records, strict=True):
        is_repeated = measure_again and record is not None and record["step"] == last_step in steps
        if record is not None and record["step"] <= last_step and not is_repeated:
            remaining.append(line)
            steps.add(record["step"])
    content = "".join(line + "\n" for line in remaining).encode()
    if content != path.read_bytes():
        with atomic.replacing(path) as file:
            file.write(content)
