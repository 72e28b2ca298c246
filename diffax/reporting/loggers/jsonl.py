"""JSON Lines: the metrics of a run in metrics.jsonl, from which it resumes."""

import json
import math
import os
import pathlib
import warnings
from collections.abc import Mapping
from typing import Any, TextIO, final

import numpy as np

from diffax.reporting import atomic

FILENAME = "metrics.jsonl"


@final
class Jsonl:
    """Appends to metrics.jsonl of a run directory; every line is flushed before `write` returns.

    On opening, a line that a crash left half-written is dropped. With resume_step = k every line of a step > k is
    dropped too, because the resumed run writes those steps again. With measure_again = True the lines of step k after
    the first, that of training itself, are dropped as well: the resumed run measures that step again.

    Pictures are files of the run directory already, and are not written.
    """

    def __init__(self, workdir: str | os.PathLike, resume_step: int | None = None, *, measure_again: bool = False):
        path = pathlib.Path(workdir) / FILENAME
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _drop_lines(path, resume_step, measure_again)
        self._file: TextIO = open(path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115, closed by close

    def write(self, step: int, metrics: Mapping[str, int | float | str]) -> None:
        """Appends the line {"step": step, **metrics}.

        JSON has no NaN and no infinities, which are written as the strings "nan", "inf" and "-inf"; `read` converts
        them back.
        """
        record = {"step": step, **{name: _to_json(value) for name, value in metrics.items()}}
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()

    def write_pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


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
        warnings.warn(f"{path}: dropped unreadable lines {bad}, left by an interrupted write", stacklevel=4)
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
