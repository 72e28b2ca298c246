"""The summary of a sweep: the metric of every point, and of points that differ only in their seed the mean and its
standard error; as JSON, CSV, Markdown, and hyperparameters of TensorBoard."""

import csv
import io
import json
import math
import pathlib
import shutil
import statistics
from collections.abc import Sequence
from typing import Any

from diffax import resolve
from diffax.reporting import atomic, metrics
from diffax.reporting.progress import duration
from diffax.runs import directory as run_directory
from diffax.sweeps import directory, programs
from diffax.sweeps import points as sweep_points
from diffax.sweeps.directory import State
from diffax.sweeps.points import Point

FORMAT = 1
JSON, CSV, MARKDOWN = "summary.json", "summary.csv", "summary.md"
HPARAMS = "hparams"
_SEED = "seed"

Summary = dict[str, Any]


def summarize(
    workdir: pathlib.Path,
    points: Sequence[Point],
    base: dict[str, Any],
    metric: str | None = None,
    best_is: str | None = None,
) -> Summary:
    """The summary of a sweep's points, as it is written to summary.json.

    columns: the settings in which points differ. points: each with its path in the sweep directory, state, message,
    seconds, settings, and the last and the best value of the metric with their steps. rows: points that differ only in
    their seed, with how many of them have the metric, the mean, and its standard error (None for a single point).

    Args:
      base: what the summary says of the sweep itself.
      metric: a name in metrics.jsonl; None for config.train.best.
      best_is: lowest or highest; None for config.train.best_is where the metric is that of config.train.best, else
        lowest.
    """
    train = points[0].config.train
    name = metric or train.best
    better = best_is or (train.best_is if name == train.best else "lowest")
    columns = sweep_points.differing(points)
    described = [_point(workdir, point, columns, name, better) for point in points]
    settings = [column for column in columns if column != _SEED]

    def group(record: dict[str, Any]) -> str:
        # Points of one label and seeds may differ in settings of which another label has none.
        return json.dumps([record["label"], [record["values"][column] for column in settings]])

    rows = [_row(records, settings) for records in programs.groups(described, group)]
    counts = {state.value: sum(record["state"] == state for record in described) for state in State}
    return {
        "format": FORMAT,
        **base,
        "metric": name,
        "best_is": better,
        "columns": columns,
        "counts": {state: count for state, count in counts.items() if count},
        "rows": rows,
        "points": described,
    }


def write(workdir: pathlib.Path, summary: Summary) -> None:
    """Writes summary.json, summary.csv, summary.md, and TensorBoard's hyperparameters."""
    run_directory.write_json(workdir / JSON, summary)
    for name, text in ((CSV, as_csv(summary)), (MARKDOWN, as_markdown(summary))):
        with atomic.replacing(workdir / name) as file:
            file.write(text.encode())
    _write_hparams(workdir / HPARAMS, summary)


def as_markdown(summary: Summary) -> str:
    """The table of rows, then what became of points that are not finished."""
    table = [[_shown(cell) for cell in row] for row in _table(summary)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in table]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    counts = ", ".join(f"{count} {state}" for state, count in summary["counts"].items())
    lines += ["", f"{len(summary['points'])} points: {counts}. Best is the {summary['best_is']} {summary['metric']}."]
    lines += [f"{record['name']}: {record['state']}{_said(record)}" for record in _unfinished(summary)]
    return "\n".join(lines) + "\n"


def as_csv(summary: Summary) -> str:
    """The table of rows."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        ["" if cell is None else cell for cell in row] for row in _table(summary)
    )
    return text.getvalue()


def value(summary: Summary, name: str) -> float | None:
    """The best value of a finished point; None for one that has none."""
    record = next(record for record in summary["points"] if record["name"] == name)
    return record["best"]["value"] if record["state"] == State.FINISHED and record["best"] else None


def curve(workdir: pathlib.Path, metric: str) -> list[tuple[int, float]]:
    """(step, value) of a metric of a run, where it is finite."""
    if not (workdir / metrics.FILENAME).exists():
        return []
    lines = [(line["step"], line[metric]) for line in metrics.read(workdir) if metric in line]
    return [(step, value) for step, value in lines if isinstance(value, int | float) and math.isfinite(value)]


def _point(workdir: pathlib.Path, point: Point, columns: list[str], metric: str, better: str) -> dict[str, Any]:
    status, flat = directory.status(workdir, point.name), resolve.flat(point.config)
    values = curve(workdir / point.name, metric)
    choose = max if better == "highest" else min
    best = choose(values, key=lambda pair: pair[1]) if values else None
    return {
        "name": point.name,
        "label": point.label,
        "path": point.name,
        "state": status.state.value,
        "message": status.message,
        "seconds": status.seconds,
        "overrides": dict(point.overrides),
        "values": {column: flat.get(column) for column in columns},
        "last": _measured(values[-1]) if values else None,
        "best": _measured(best) if best else None,
    }


def _measured(pair: tuple[int, float]) -> dict[str, Any]:
    return {"step": pair[0], "value": pair[1]}


def _row(records: list[dict[str, Any]], settings: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "label": records[0]["label"],
        "values": {setting: records[0]["values"][setting] for setting in settings},
        "points": [record["name"] for record in records],
    }
    for which in ("last", "best"):
        found = [record[which]["value"] for record in records if record["state"] == State.FINISHED and record[which]]
        row["num"] = len(found)
        row[which] = statistics.fmean(found) if found else None
        row[f"{which}_error"] = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else None
    return row


def _table(summary: Summary) -> list[list[Any]]:
    """The header and the rows of the table."""
    settings = [column for column in summary["columns"] if column != _SEED]
    has_labels = any(row["label"] is not None for row in summary["rows"])
    metric = summary["metric"]
    numbers = {"finished": "num", f"last {metric}": "last", f"best {metric}": "best"}
    header = [*(["name"] if has_labels else []), *settings, "points"]
    for title, key in numbers.items():
        header += [title] if key == "num" else [title, "standard error"]
    table = [header]
    for row in summary["rows"]:
        cells = [*([row["label"]] if has_labels else []), *row["values"].values(), len(row["points"])]
        for key in numbers.values():
            cells += [row[key]] if key == "num" else [row[key], row[f"{key}_error"]]
        table.append(cells)
    return table


def _shown(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell).replace("|", "\\|")


def _unfinished(summary: Summary) -> list[dict[str, Any]]:
    return [record for record in summary["points"] if record["state"] != State.FINISHED]


def _said(record: dict[str, Any]) -> str:
    after = f" after {duration(record['seconds'])}" if record["seconds"] >= 1 else ""
    return f"{after}: {record['message']}" if record["message"] else after


def _write_hparams(folder: pathlib.Path, summary: Summary) -> None:
    """One session of TensorBoard's HParams plugin for each finished point, for its parallel coordinates."""
    finished = [record for record in summary["points"] if record["state"] == State.FINISHED and record["best"]]
    shutil.rmtree(folder, ignore_errors=True)
    if not finished:
        return
    import tensorboardX

    metric = summary["metric"]
    with tensorboardX.SummaryWriter(str(folder)) as writer:
        for record in finished:
            chosen = {
                column: value if isinstance(value, bool | int | float | str) else str(value)
                for column, value in record["values"].items()
            }
            results = {f"best/{metric}": record["best"]["value"], f"last/{metric}": record["last"]["value"]}
            writer.add_hparams(chosen or {_SEED: 0}, results, name=record["name"])
