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
    metric, lowest = str(summary.get("metric", "metric")), summary.get("best_is", "lowest") == "lowest"
    points, rows = _listed(summary, "points"), _listed(summary, "rows")
    sections = [_averages(rows, metric, lowest)] if rows else []
    figures = _against_hyperparameters(rows or points, metric)
    if figures:
        caption = f"{metric} of every point against each hyperparameter that differs, averaged over seeds."
        sections.append(Section("Hyperparameters", [Figures(figures)], caption))
    learning = _learning_curves(directory, points, metric)
    sections += [learning] if learning is not None else []
    sections += [_points(points, metric, lowest)] if points else []
    finished = sum(point.get("state") == "finished" for point in points)
    best = f"{metric}, {'lowest' if lowest else 'highest'} is best"
    facts = [("points", len(points)), ("finished", finished), ("metric", best)]
    facts += [(key, str(summary[key])) for key in ("config", "sweep") if key in summary]
    return Page(f"Sweep {directory.name}", sections, facts)


def _listed(summary: Mapping[str, Any], key: str) -> list[Row]:
    found = summary.get(key)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _settings(row: Row) -> dict[str, Any]:
    """The settings in which points differ, and the label of points that were named."""
    found = row.get("values")
    label = {} if row.get("label") is None else {"label": row["label"]}
    return label | (dict(found) if isinstance(found, Mapping) else {})


def _value(row: Row) -> float | None:
    """The last value of the metric: of a point with its step, of a row the mean over seeds."""
    value = row.get("last")
    value = value.get("value") if isinstance(value, Mapping) else value
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _paths(rows: Sequence[Row]) -> list[str]:
    """The settings that differ between rows."""
    paths = list(dict.fromkeys(path for row in rows for path in _settings(row)))
    return [path for path in paths if len({str(_settings(row).get(path)) for row in rows}) > 1]


def _best(rows: Sequence[Row], lowest: bool) -> frozenset[int]:
    values = {index: value for index, row in enumerate(rows) if (value := _value(row)) is not None}
    return frozenset({(min if lowest else max)(values, key=lambda index: values[index])}) if values else frozenset()


def _averages(rows: Sequence[Row], metric: str, lowest: bool) -> Section:
    paths = _paths(rows) or list(_settings(rows[0]))
    rows = sorted(rows, key=lambda row: (_value(row) is None, (_value(row) or 0) * (1 if lowest else -1)))
    cells = [
        [
            *(_settings(row).get(path) for path in paths),
            row.get("num"),
            formats.cell(_value(row), row.get("last_error")),
        ]
        for row in rows
    ]
    caption = "Points that differ in their seed alone are averaged; the best is first."
    return Section("Results", [Table([*paths, "seeds", metric], cells, _best(rows, lowest))], caption)


def _points(points: Sequence[Row], metric: str, lowest: bool) -> Section:
    paths = _paths(points)
    has_messages = any(point.get("message") for point in points)
    header = ["point", "state", *paths, metric, *(["message"] if has_messages else [])]
    rows = [
        [
            str(point.get("name", "")),
            str(point.get("state", "")),
            *(_settings(point).get(path) for path in paths),
            _value(point),
            *([str(point.get("message") or "")] if has_messages else []),
        ]
        for point in points
    ]
    return Section("Points", [Table(header, rows, _best(points, lowest))])


def _against_hyperparameters(rows: Sequence[Row], metric: str) -> list[Figure]:
    measured = [row for row in rows if _value(row) is not None]
    return [Figure(_against(measured, path, metric)) for path in _paths(measured)]


def _against(rows: Sequence[Row], path: str, metric: str) -> str:
    """The metric against one setting: numbers on an axis, other values side by side."""
    shown = [row for row in rows if path in _settings(row)]
    values = [value for row in shown if (value := _value(row)) is not None]
    settings = [_settings(row)[path] for row in shown]
    numeric = all(isinstance(setting, int | float) and not isinstance(setting, bool) for setting in settings)
    names = list(dict.fromkeys(map(str, settings)))
    x = settings if numeric else [names.index(str(setting)) for setting in settings]
    labels = [", ".join(f"{key} {formats.number(value)}" for key, value in _settings(row).items()) for row in shown]
    errors = [row.get("last_error") or 0.0 for row in shown]
    points = Series(metric, x, values, errors, "points", labels=labels)
    log = "x" if numeric and min(x) > 0 and max(x) >= 20 * min(x) else ""
    xticks = None if numeric else {float(place): name for place, name in enumerate(names)}
    return chart([points], xlabel=path, ylabel=metric, log=log, xticks=xticks)


def _learning_curves(directory: pathlib.Path, points: Sequence[Row], metric: str) -> Section | None:
    """The metric over the steps of each point, or its loss where the metric is measured once at the end."""
    paths = [path for path in _paths(points) if path != "seed"]
    found = []
    for point in points:
        folder = directory / str(point.get("path") or point.get("name") or "")
        if folder != directory and (folder / metrics.FILENAME).is_file():
            settings = _settings(point)
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
