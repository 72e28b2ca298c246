"""The table of an evaluation: one row for each candidate, one column for each metric; as text, files and a figure."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from diffax.evaluation import metrics
from diffax.evaluation.measurement import TRAINED_ON, Measurement
from diffax.reporting import atomic, charts, formats, plots, tables

_MOST_PANELS = 3
_SUBJECT = ("run", "step", "sampler", "num_evaluations", "guidance", "average")


def write(
    directory: pathlib.Path,
    measurements: Sequence[Measurement],
    selection: Mapping[str, Any] | None,
    made_by: Mapping[str, Any],
) -> None:
    """Writes results.json, table.csv, table.md and, where evaluations or samplers differ, quality.png."""
    directory.mkdir(parents=True, exist_ok=True)
    header, rows = _columns(measurements)
    record = {"measurements": [one.to_json() for one in measurements], "made_by": dict(made_by)}
    record |= {} if selection is None else {"selection": dict(selection)}
    for name, content in (
        ("results.json", json.dumps(record, indent=2) + "\n"),
        (
            "table.md",
            tables.markdown(header, rows) + "".join(f"\n{line}\n" for line in _notes(measurements, selection)),
        ),
        ("table.csv", tables.comma_separated(*_plain_columns(measurements))),
    ):
        with atomic.replacing(directory / name) as file:
            file.write(content.encode())
    _plot(directory / "quality.png", measurements)


def text(measurements: Sequence[Measurement], selection: Mapping[str, Any] | None) -> str:
    """The table for a terminal, and what it was measured against."""
    lines = [tables.aligned(*_columns(measurements)), *_notes(measurements, selection)]
    if selection is not None:
        for one in selection["measurements"]:
            value = formats.with_error(one["value"], one["standard_error"])
            lines.append(f"  {one['metric']}: {formats.remarked(value, one.get('remark'))}")
    return "\n".join(lines)


def _notes(measurements: Sequence[Measurement], selection: Mapping[str, Any] | None) -> list[str]:
    """The settings that all measurements share, and what was selected on what."""
    settings = measurements[0].settings
    notes = [f"Against {settings['reference']}; features {settings['features']} ({settings['preprocessing']})."]
    if not all(one.ranks for one in measurements):
        notes.append(f"A value with ({TRAINED_ON}) says how far training came, not how the model ranks: see others.")
    notes += [line for name in ("rounding", "labels") for line in _unknown(measurements, name)]
    return notes + ([] if selection is None else [selection["selected_by"]])


def _unknown(measurements: Sequence[Measurement], name: str) -> list[str]:
    """A line that names the samples of which a setting is not known, where it is known of others; [] otherwise."""
    settings = {str(one.subject.get("run")): one.settings.get(name) for one in measurements}
    unknown, known = [run for run, value in settings.items() if value is None], set(settings.values()) - {None}
    is_mixed = bool(unknown and known)
    return [f"The {name} of {', '.join(unknown)} is not known; others have: {known.pop()}."] if is_mixed else []


def _grouped(measurements: Sequence[Measurement]) -> dict[tuple[Any, ...], dict[str, Measurement]]:
    """{subject: {metric: measurement}}, in order."""
    grouped: dict[tuple[Any, ...], dict[str, Measurement]] = {}
    for one in measurements:
        grouped.setdefault(tuple(one.subject.get(key, "") for key in _SUBJECT), {})[one.metric] = one
    return grouped


def _metric_names(measurements: Sequence[Measurement]) -> list[str]:
    return list(dict.fromkeys(one.metric for one in measurements))


def _columns(measurements: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, with the columns of the subject that differ between rows, the run always."""
    grouped, names = _grouped(measurements), _metric_names(measurements)
    differing = [i for i in range(len(_SUBJECT)) if i == 0 or len({subject[i] for subject in grouped}) > 1]
    rows = []
    for subject, values in grouped.items():
        cells = [str(subject[i]) for i in differing]
        for name in names:
            one = values.get(name)
            shown = "" if one is None else formats.with_error(one.value, one.standard_error)
            cells.append(shown if one is None else formats.remarked(shown, one.subject.get("remark")))
        rows.append(cells)
    return [*(_SUBJECT[i].replace("num_", "") for i in differing), *names], rows


def _plain_columns(measurements: Sequence[Measurement]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of plain numbers, one row for each value, for other programs."""
    header = [*_SUBJECT, "metric", "value", "standard_error", "n", "seeds", "remark"]
    rows = []
    for one in measurements:
        subject, error = [one.subject.get(key, "") for key in _SUBJECT], one.standard_error
        seeds = " ".join(map(str, one.seeds))
        rows.append([*subject, one.metric, repr(one.value), "" if error is None else repr(error), one.n, seeds])
        rows[-1].append(one.subject.get("remark", ""))
    return header, rows


def _plot(path: pathlib.Path, measurements: Sequence[Measurement]) -> None:
    """Each metric against the number of evaluations: a line for each setting beside it, and the Pareto front dashed."""
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for name in _metric_names(measurements)[:_MOST_PANELS]:  # report.html has all
        points = [one for one in measurements if one.metric == name and "num_evaluations" in one.subject]
        if len({one.subject["num_evaluations"] for one in points}) < 2:
            return
        lines: dict[str, tuple[list[float], list[float]]] = {}
        for one in sorted(points, key=lambda one: one.subject["num_evaluations"]):
            x, y = lines.setdefault(_line_name(one, points), ([], []))
            x.append(one.subject["num_evaluations"])
            y.append(one.value)
        ranked = [one for one in points if one.ranks]
        costs, values = [one.subject["num_evaluations"] for one in ranked], [one.value for one in ranked]
        front = charts.pareto_front(costs, values, lowest_is_best=not metrics.higher_is_better(name))
        lines["Pareto front"] = ([costs[i] for i in front], [values[i] for i in front])
        panels[name] = lines
    if panels:
        plots.lines(path, panels, xlabel="evaluations of the network", log="x", dashed=["Pareto front"])


def _line_name(one: Measurement, points: Sequence[Measurement]) -> str:
    keys = [key for key in _SUBJECT if key != "num_evaluations" and len({p.subject.get(key) for p in points}) > 1]
    return ", ".join(f"{key} {one.subject.get(key)}" for key in keys) or "samples"
