"""The report of an evaluation: the measurements of results.json as a table, and quality against evaluations."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from diffax.evaluation import metrics
from diffax.evaluation.measurement import TRAINED_ON
from diffax.reporting import formats
from diffax.reporting.charts import Series, chart, pareto_front
from diffax.reporting.page import Code, Details, Figure, Figures, Page, Part, Section, Table
from diffax.runs.reports.settings import read_object

FILENAME = "results.json"
_COLUMNS = {
    "metric": "metric",
    "run": "run",
    "step": "step",
    "sampler": "sampler",
    "num_evaluations": "evaluations",
    "guidance": "guidance",
    "average": "average",
    "n": "samples",
}

Measurement = Mapping[str, Any]


def page(directory: pathlib.Path) -> Page:
    """The report of an evaluation's directory."""
    results = read_object(directory / FILENAME)
    found = measurements(results)
    sections = []
    figures = [_against_evaluations(metric, rows) for metric, rows in _by_metric(found).items() if _varies(rows)]
    if figures:
        caption = "The dashed line is the Pareto front: no other setting is as good with as few evaluations."
        sections.append(Section("Quality against evaluations", [Figures(figures)], caption))
    sections += [table(found)] if found else []
    made_by = results.get("made_by")
    if made_by:
        text = made_by if isinstance(made_by, str) else json.dumps(made_by, indent=2, ensure_ascii=False)
        sections.append(Section("Made by", [Code(text)]))
    return Page(f"Evaluation {directory.name}", sections, [("measurements", len(found))])


def measurements(results: Mapping[str, Any]) -> list[Measurement]:
    """The measurements of a results.json that have a value."""
    listed = results.get("measurements")
    listed = listed if isinstance(listed, list) else []
    return [one for one in listed if isinstance(one, Mapping) and isinstance(one.get("value"), int | float)]


def table(found: Sequence[Measurement], title: str = "Measurements") -> Section:
    """A row for each measurement, its value with its standard error; the best of each metric marked."""
    columns = [name for name in _COLUMNS if any(one.get(name) is not None for one in found)]
    header = [*(_COLUMNS[name] for name in columns), "value"]
    rows = [[*(one.get(name) for name in columns), _value(one)] for one in found]
    best = frozenset(
        (max if metrics.higher_is_better(metric) else min)(indices, key=lambda index: found[index]["value"])
        for metric in dict.fromkeys(str(one.get("metric")) for one in found)
        if len(indices := [index for index, one in enumerate(found) if str(one.get("metric")) == metric]) > 1
        if (indices := [index for index in indices if found[index].get("remark") != TRAINED_ON])
    )
    parts: list[Part] = [Table(header, rows, best)]
    if any(one.get("settings") for one in found):
        settings = [(index + 1, json.dumps(one.get("settings"), ensure_ascii=False)) for index, one in enumerate(found)]
        parts.append(Details("Settings of each row", [Table(("row", "settings"), settings)]))
    caption = "Values with one standard error where it is known; the best value of each metric is marked."
    if any(one.get("remark") == TRAINED_ON for one in found):
        caption += f" Values with ({TRAINED_ON}) do not rank a model, and are never marked."
    return Section(title, parts, caption)


def _value(one: Measurement) -> str | float | None:
    cell = formats.cell(one["value"], one.get("standard_error"))
    return formats.remarked(formats.number(cell), one["remark"]) if one.get("remark") else cell


def _by_metric(found: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    grouped: dict[str, list[Measurement]] = {}
    for one in found:
        if isinstance(one.get("num_evaluations"), int | float):
            grouped.setdefault(str(one.get("metric")), []).append(one)
    return grouped


def _varies(rows: Sequence[Measurement]) -> bool:
    return len({one["num_evaluations"] for one in rows}) > 1


def _against_evaluations(metric: str, rows: Sequence[Measurement]) -> Figure:
    """A line for each run, sampler, guidance and average that differ, and the Pareto front."""
    told_apart = [
        name for name in ("run", "sampler", "guidance", "average") if len({str(r.get(name)) for r in rows}) > 1
    ]
    lines: dict[str, list[Measurement]] = {}
    for one in sorted(rows, key=lambda one: one["num_evaluations"]):
        name = ", ".join(_named(key, one.get(key)) for key in told_apart) or str(rows[0].get("sampler") or metric)
        lines.setdefault(name, []).append(one)
    series = [
        Series(name, [r["num_evaluations"] for r in ours], [r["value"] for r in ours], _errors(ours), "both")
        for name, ours in lines.items()
    ]
    ranked = [one for one in rows if one.get("remark") != TRAINED_ON]
    cost, value = [one["num_evaluations"] for one in ranked], [one["value"] for one in ranked]
    front = pareto_front(cost, value, lowest_is_best=not metrics.higher_is_better(metric))
    ends = [cost[i] for i in front], [value[i] for i in front]
    series += [Series("Pareto front", *ends, dashed=True)] if ranked else []
    shown = [one["value"] for one in rows]
    positive = min(shown) > 0 and max(shown) > 10 * min(shown)
    svg = chart(series, xlabel="evaluations of the network", ylabel=metric, log="xy" if positive else "x")
    return Figure(svg, f"{metric} against evaluations of the network a sample.")


def _named(key: str, value: Any) -> str:
    return str(value) if key in ("run", "sampler") else f"{key} {formats.number(value)}"


def _errors(rows: Sequence[Measurement]) -> list[float]:
    return [one.get("standard_error") or 0.0 for one in rows]
