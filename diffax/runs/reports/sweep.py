"""The report of a sweep: the points of summary.json, each hyperparameter against the metric, learning curves."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from diffax.reporting import formats, metrics
from diffax.reporting.charts import Series, chart
from diffax.reporting.page import Figure, Figures, Page, Section, Table
from diffax.runs.reports import curves
from diffax.runs.reports.settings import read_object

FILENAME = "summary.json"
_MAX_CURVES = 24

Row = Mapping[str, Any]


def page(directory: pathlib.Path) -> Page:
    """The report of a sweep's directory."""
    summary = read_object(directory / FILENAME)
    metric, lowest = str(summary.get("metric", "metric")), bool(summary.get("lowest_is_best", True))
    points, rows = _listed(summary, "points"), _listed(summary, "rows")
    sections = [_averages(rows, metric, lowest)] if rows else []
    figures = _against_hyperparameters(rows or points, metric)
    if figures:
        caption = f"{metric} of every point against each hyperparameter that differs, averaged over seeds."
        sections.append(Section("Hyperparameters", [Figures(figures)], caption))
    learning = _learning_curves(directory, points, metric)
    sections += [learning] if learning is not None else []
    sections += [_points(points, metric, lowest)] if points else []
    base = summary.get("base")
    if isinstance(base, Mapping):
        listed = [(str(key), str(value)) for key, value in base.items()]
        sections.append(Section("Base configuration", [Table(("", ""), listed)]))
    done = sum(point.get("status") == "done" for point in points)
    facts = [("points", len(points)), ("done", done), ("metric", f"{metric}, {'lowest' if lowest else 'highest'} is best")]
    return Page(f"Sweep {directory.name}", sections, facts)


def _listed(summary: Mapping[str, Any], key: str) -> list[Row]:
    found = summary.get(key)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _overrides(row: Row) -> dict[str, Any]:
    found = row.get("overrides")
    return dict(found) if isinstance(found, Mapping) else {}


def _value(row: Row) -> float | None:
    value = row.get("mean", row.get("value"))
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _paths(rows: Sequence[Row]) -> list[str]:
    """The settings that differ between rows."""
    paths = list(dict.fromkeys(path for row in rows for path in _overrides(row)))
    return [path for path in paths if len({str(_overrides(row).get(path)) for row in rows}) > 1]


def _best(rows: Sequence[Row], lowest: bool) -> frozenset[int]:
    values = {index: value for index, row in enumerate(rows) if (value := _value(row)) is not None}
    return frozenset({(min if lowest else max)(values, key=lambda index: values[index])}) if values else frozenset()


def _averages(rows: Sequence[Row], metric: str, lowest: bool) -> Section:
    paths = _paths(rows) or list(_overrides(rows[0]))
    rows = sorted(rows, key=lambda row: (_value(row) is None, (_value(row) or 0) * (1 if lowest else -1)))
    cells = [
        [*(_overrides(row).get(path) for path in paths), row.get("num_seeds"), formats.cell(_value(row), row.get("standard_error"))]
        for row in rows
    ]
    caption = "Points that differ in their seed alone are averaged; the best is first."
    return Section("Results", [Table([*paths, "seeds", metric], cells, _best(rows, lowest))], caption)


def _points(points: Sequence[Row], metric: str, lowest: bool) -> Section:
    paths = _paths(points)
    has_errors = any(point.get("error") for point in points)
    header = ["point", "status", *paths, metric, *(["error"] if has_errors else [])]
    rows = [
        [
            str(point.get("name", "")),
            str(point.get("status", "")),
            *(_overrides(point).get(path) for path in paths),
            _value(point),
            *([str(point.get("error") or "")] if has_errors else []),
        ]
        for point in points
    ]
    return Section("Points", [Table(header, rows, _best(points, lowest))])


def _against_hyperparameters(rows: Sequence[Row], metric: str) -> list[Figure]:
    measured = [row for row in rows if _value(row) is not None]
    return [Figure(_against(measured, path, metric)) for path in _paths(measured)]


def _against(rows: Sequence[Row], path: str, metric: str) -> str:
    """The metric against one setting: numbers on an axis, other values side by side."""
    shown = [row for row in rows if path in _overrides(row)]
    values = [value for row in shown if (value := _value(row)) is not None]
    settings = [_overrides(row)[path] for row in shown]
    numeric = all(isinstance(setting, int | float) and not isinstance(setting, bool) for setting in settings)
    names = list(dict.fromkeys(map(str, settings)))
    x = settings if numeric else [names.index(str(setting)) for setting in settings]
    labels = [", ".join(f"{key} {formats.number(value)}" for key, value in _overrides(row).items()) for row in shown]
    errors = [row.get("standard_error") or 0.0 for row in shown]
    points = Series(metric, x, values, errors, "points", labels=labels)
    log = "x" if numeric and min(x) > 0 and max(x) >= 20 * min(x) else ""
    xticks = None if numeric else {float(place): name for place, name in enumerate(names)}
    return chart([points], xlabel=path, ylabel=metric, log=log, xticks=xticks)


def _learning_curves(directory: pathlib.Path, points: Sequence[Row], metric: str) -> Section | None:
    """The metric over the steps of each point, or its loss where the metric is measured once at the end."""
    paths = [path for path in _paths(points) if path != "seed"]
    found = []
    for point in points:
        folder = directory / str(point.get("directory") or point.get("name") or "")
        if folder != directory and (folder / metrics.FILENAME).is_file():
            settings = _overrides(point)
            name = ", ".join(f"{_shortened(path)} {formats.number(settings.get(path))}" for path in paths)
            found.append((name or folder.name, metrics.read(folder)))
    if not found:
        return None
    shown = next((name for name in (metric, "held_out_loss", "loss") if _has_curve(found, name)), "loss")
    series = [curves.series(lines, shown, name) for name, lines in found][:_MAX_CURVES]
    svg = chart(series, xlabel="step", ylabel=shown, log=curves.log_axis(series))
    few = "" if len(found) <= _MAX_CURVES else f" of the first {_MAX_CURVES} of {len(found)} points"
    caption = f"{shown}{few}; points that differ in their seed alone have one colour."
    return Section("Learning curves", [Figures([Figure(svg)])], caption)


def _shortened(path: str) -> str:
    """learning_rate for optimizer.learning_rate, schedule for schedule.name."""
    return path.removesuffix(".name").rpartition(".")[2]


def _has_curve(found: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], name: str) -> bool:
    return any(sum(name in line for line in lines) > 1 for _, lines in found)
