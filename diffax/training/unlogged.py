"""Metrics of steps that no line of metrics.jsonl covers yet, kept with a checkpoint that is made between two lines.

The next line is then the same, to the last bit, as that of a run that was never stopped.
"""

from typing import Any

import numpy as np


def to_json(steps: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """{"loss": {"dtype": "float32", "values": [one a step]}}: numbers that JSON gives back as they were."""
    columns = {name: np.stack([np.asarray(metrics[name]) for metrics in steps]) for name in (steps[0] if steps else ())}
    return {name: {"dtype": str(column.dtype), "values": column.tolist()} for name, column in columns.items()}


def from_json(columns: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The inverse of to_json."""
    arrays = {name: np.asarray(column["values"], column["dtype"]) for name, column in columns.items()}
    length = len(next(iter(arrays.values()), ()))
    return [{name: np.asarray(column[i]) for name, column in arrays.items()} for i in range(length)]
