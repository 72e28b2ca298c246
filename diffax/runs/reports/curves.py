"""The part of a report that shows a run's metrics: loss curves, evaluators' numbers, throughput."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffax.reporting import formats
from diffax.reporting.charts import Series, chart
from diffax.reporting.page import Details, Figure, Figures, Part, Section, Table

Lines = Sequence[Mapping[str, Any]]
# A number of this name beside NAME is its standard error.
ERROR_SUFFIX = "_standard_error"
_BY_LOG_SNR = re.compile(r"(?P<name>.+)_log_snr_(?P<centre>-?[\d.]+(e-?\d+)?)")
_MAX_PROFILES = 4


def series(lines: Lines, name: str, label: str = "") -> Series:
    """One metric over the steps of a run, with error bars where its standard error was written."""
    rows = [line for line in lines if _is_number(line.get(name))]
    errors = [line.get(name + ERROR_SUFFIX, 0.0) for line in rows]
    known = any(errors)
    return Series(
        label or name,
        [line["step"] for line in rows],
        [line[name] for line in rows],
        error=errors if known else None,
        style="both" if known else "line",
    )


def section(lines: Lines) -> Section | None:
    """Losses, the numbers of evaluators and, folded, what training itself writes; None for a run without metrics."""
    names = list(dict.fromkeys(name for line in lines for name, value in line.items() if _is_number(value)))
    names = [name for name in names if name != "step" and not name.endswith(ERROR_SUFFIX)]
    if not names:
        return None
    of_training = {name for line in lines if "loss" in line for name in line}
    profiled = [name for name in names if _BY_LOG_SNR.fullmatch(name)]
    losses = [name for name in names if name.endswith("loss")]
    measured = [name for name in names if name not in of_training and name not in (*profiled, *losses)]
    others = [name for name in names if name in of_training and name not in losses]
    figures = [_losses(lines, losses)] if losses else []
    figures += [Figure(chart([series(lines, name)], xlabel="step", ylabel=name)) for name in measured]
    figures += _profiles(lines, profiled)
    parts: list[Part] = [Figures(figures)]
    if measured or len(losses) > 1:
        parts.append(_table(lines, [*(name for name in losses if name not in of_training), *measured]))
    if others:
        folded = [Figure(chart([series(lines, name)], xlabel="step", ylabel=name)) for name in others]
        parts.append(Details("Gradient norm, learning rate, throughput", [Figures(folded)]))
    return Section("Metrics", parts)


def _losses(lines: Lines, names: Sequence[str]) -> Figure:
    curves = [series(lines, name) for name in names]
    caption = "Training loss is the mean since the line before; held-out loss uses the same noise at every step."
    return Figure(chart(curves, xlabel="step", ylabel="loss", log=log_axis(curves)), caption)


def _profiles(lines: Lines, names: Sequence[str]) -> list[Figure]:
    """A figure for each quantity that was measured by log-SNR, with a line for each of up to four steps."""
    figures = []
    matches = [match for match in map(_BY_LOG_SNR.fullmatch, names) if match]
    for quantity in dict.fromkeys(match["name"] for match in matches):
        ours = sorted((float(match["centre"]), match[0]) for match in matches if match["name"] == quantity)
        rows = [line for line in lines if any(name in line for _, name in ours)]
        rows = [rows[index] for index in spread(len(rows), _MAX_PROFILES)]
        curves = []
        for line in rows:
            points = [(centre, line[name]) for centre, name in ours if name in line]
            x, y = zip(*points, strict=True)
            curves.append(Series(f"step {line['step']:,}", x, y, style="both"))
        svg = chart(curves, xlabel="log-SNR", ylabel=quantity)
        figures.append(Figure(svg, f"{quantity} by noise level: data on the right, noise on the left."))
    return figures


def _table(lines: Lines, names: Sequence[str]) -> Table:
    """The last, lowest and highest value of each number."""
    rows = []
    for name in names:
        found = [line for line in lines if _is_number(line.get(name))]
        last = found[-1]
        low, high = (choose(found, key=lambda line: line[name]) for choose in (min, max))
        value = formats.cell(last[name], last.get(name + ERROR_SUFFIX))
        rows.append((name, value, last["step"], low[name], low["step"], high[name], high["step"]))
    return Table(("metric", "last", "at step", "lowest", "at step", "highest", "at step"), rows)


def log_axis(curves: Sequence[Series]) -> str:
    """ "y" where the positive values of the curves span more than a factor of ten, else ""."""
    values = np.concatenate([np.asarray(curve.y, np.float64) for curve in curves])
    values = values[np.isfinite(values) & (values > 0)]
    return "y" if len(values) and values.max() > 10 * values.min() else ""


def spread(count: int, most: int) -> list[int]:
    """Up to `most` of the indices 0 .. count - 1, evenly spaced, with the last."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
