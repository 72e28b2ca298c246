"""Plots of a sweep: every hyperparameter against the metric, and learning curves."""

import pathlib
import re
from typing import Any

import numpy as np

from diffax.reporting import plots
from diffax.sweeps import programs, summary
from diffax.sweeps.summary import Summary

FOLDER = "plots"
# More lines than this can no longer be told apart.
MOST_LINES = 40
_LONGEST_NAME = 40

Line = tuple[list[Any], list[float]]


def write(workdir: pathlib.Path, made: Summary) -> list[str]:
    """Writes plots of a summary as PNG files; returns their paths in the sweep directory."""
    metric, folder, paths = made["metric"], workdir / FOLDER, []
    settings = [column for column in made["columns"] if column != "seed"]
    rows = [row for row in made["rows"] if row["best"] is not None]
    for setting in settings:
        lines = _against(setting, settings, rows)
        if lines:
            path = folder / f"{re.sub(r'[^A-Za-z0-9_.]+', '_', setting)}.png"
            scale = "x" if _spans_decades([row["values"][setting] for row in rows]) else ""
            plots.lines(path, {f"best {metric}": lines}, xlabel=setting, log=scale)
            paths.append(path)
    panels = {name: _curves(workdir, made, name) for name in dict.fromkeys(("loss", metric))}
    panels = {name: lines for name, lines in panels.items() if lines}
    if panels:
        plots.lines(folder / "learning_curves.png", panels, xlabel="step")
        paths.append(folder / "learning_curves.png")
    return [str(path.relative_to(workdir)) for path in paths]


def _against(setting: str, settings: list[str], rows: list[dict[str, Any]]) -> dict[str, Line]:
    """The metric over a setting, a line for each combination of the others."""
    others = [other for other in settings if other != setting]
    lines: dict[str, Line] = {}
    for same in programs.groups(rows, lambda row: repr([row["label"] if not others else None, *_of(row, others)])):
        numeric = all(_is_number(row["values"][setting]) for row in same)
        same = sorted(same, key=lambda row: row["values"][setting]) if numeric else same
        x = [row["values"][setting] if numeric else str(row["values"][setting]) for row in same]
        name = ", ".join(map(str, _of(same[0], others))) or "mean over seeds"
        lines[_shortened(name)] = (x, [row["best"] for row in same])
    return dict(list(lines.items())[:MOST_LINES])


def _curves(workdir: pathlib.Path, made: Summary, metric: str) -> dict[str, Line]:
    """Learning curves of the rows, each the mean over its points at the steps that all of them have."""
    lines: dict[str, Line] = {}
    for row in made["rows"][:MOST_LINES]:
        curves = [dict(curve) for name in row["points"] if (curve := summary.curve(workdir / name, metric))]
        steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
        if steps:
            name = row["label"] or ", ".join(map(str, row["values"].values())) or "mean over seeds"
            lines[_shortened(name)] = (steps, [float(np.mean([curve[step] for curve in curves])) for step in steps])
    return lines


def _of(row: dict[str, Any], settings: list[str]) -> list[Any]:
    return [row["values"][setting] for setting in settings]


def _shortened(name: str) -> str:
    """A name that leaves room for the plot beside its legend."""
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}...{name[-_LONGEST_NAME // 2 :]}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spans_decades(values: list[Any]) -> bool:
    return all(_is_number(value) and value > 0 for value in values) and max(values) >= 20 * min(values)
