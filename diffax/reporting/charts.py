"""Line charts and scatter plots with error bars as SVG, in the colours of the page that they are part of.

Text, axes and grid have the page's text colour; series i has the CSS variable --series-i, i = 0 .. 7, which a page sets
for its light and its dark theme. A chart that stands alone has colours of its own.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np

from diffax.reporting import formats
from diffax.reporting.axes import Axis, visible

Values = Sequence[float | int] | np.ndarray
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56a0d3", "#8c564b", "#7f7f7f")
MAX_POINTS = 1000  # of a line
_MAX_IN_LEGEND = 12
_MAX_DESCRIBED = 200  # points of a series that say what they are when pointed at

# In the units of the view box, in which text is 12 high.
_WIDTH, _HEIGHT = 440, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 10, 44
_CHARACTER, _LINE = 6.6, 17


@dataclasses.dataclass(frozen=True)
class Series:
    """Points (n,) of one name, joined by a line or not. Series of the same name have one colour and legend entry.

    error: the half lengths of vertical error bars.
    labels: what each point is, shown beside its numbers when it is pointed at.
    """

    name: str
    x: Values
    y: Values
    error: Values | None = None
    style: Literal["line", "points", "both"] = "line"
    dashed: bool = False
    labels: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class _Plot:
    """The area inside the axes."""

    x: Axis
    y: Axis
    top: float

    def across(self, values: Any) -> Any:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * self.x.position(values)

    def down(self, values: Any) -> Any:
        return self.top + (_HEIGHT - _TOP - _BOTTOM) * (1 - self.y.position(values))

    @property
    def bottom(self) -> float:
        return self.top + _HEIGHT - _TOP - _BOTTOM


def chart(
    series: Sequence[Series],
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    xticks: Mapping[float, str] | None = None,
) -> str:
    """A chart as the text of an SVG element, well-formed XML.

    Points that are not finite, or not positive on a logarithmic axis, are left out. A line of more than 1,000 points is
    drawn through every second, third, ... of them and the last.

    Args:
        log: the logarithmic axes: "x", "y" or "xy".
        xticks: {x: label}, for an x axis of names.

    Raises:
        ValueError: x, y and error of a series of different lengths.
    """
    drawn = [_visible(one, log) for one in series]
    with_bars = [y + sign * error for _, y, error, _ in drawn for sign in (-1, 1)]
    x_axis = Axis.of([x for x, *_ in drawn], log="x" in log, labels=xticks)
    y_axis = Axis.of([*(y for _, y, *_ in drawn), *with_bars], log="y" in log)
    names = list(dict.fromkeys(one.name for one in series))
    places, num_rows = _legend_places(names if len(names) > 1 else [])
    plot = _Plot(x_axis, y_axis, float(_TOP + _LINE * num_rows))
    height = _HEIGHT + _LINE * num_rows
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "chart",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "role": "img",
            "aria-label": _clean(f"{ylabel} over {xlabel}"),
            "font-family": "system-ui, sans-serif",
            "font-size": "12",
        },
    )
    _draw_axes(root, plot, xlabel, ylabel)
    for one, points in zip(series, drawn, strict=True):
        _draw_series(root, plot, names.index(one.name), one, points)
    first = {one.name: one for one in reversed(series)}
    _draw_legend(root, [first[name] for name in names], places)
    if not any(len(x) for x, *_ in drawn):
        _text(root, (_LEFT + _WIDTH - _RIGHT) / 2, (plot.top + plot.bottom) / 2, "no finite values", anchor="middle")
    return ElementTree.tostring(root, encoding="unicode")


def pareto_front(cost: Values, value: Values, *, lowest_is_best: bool = True) -> np.ndarray:
    """The indices of the points that no other point is at least as good as, in order of their cost.

    Of points (n,) with equal cost and value the first is taken; those that are not finite are on no front.
    """
    cost, value = np.asarray(cost, np.float64), np.asarray(value, np.float64)
    value = value if lowest_is_best else -value
    best, front = np.inf, []
    for index in np.lexsort((np.arange(len(cost)), value, cost)):
        if np.isfinite(cost[index]) and value[index] < best:
            best = value[index]
            front.append(int(index))
    return np.asarray(front, int)


def _visible(one: Series, log: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """(x, y, error, labels) of the points that the axes can show; an unknown error is 0."""
    x, y = np.asarray(one.x, np.float64), np.asarray(one.y, np.float64)
    error = np.zeros_like(y) if one.error is None else np.nan_to_num(np.asarray(one.error, np.float64), posinf=0.0)
    if not (x.shape == y.shape == error.shape and x.ndim == 1):
        raise ValueError(f"series {one.name!r} needs x, y and error (n,), got {x.shape}, {y.shape}, {error.shape}")
    rows = np.flatnonzero(visible(x, log="x" in log) & visible(y, log="y" in log))
    if one.style == "line" and len(rows) > MAX_POINTS:
        stride = -(-len(rows) // MAX_POINTS)
        rows = np.unique(np.append(rows[::stride], rows[-1]))
    return x[rows], y[rows], error[rows], [one.labels[int(row)] for row in rows] if one.labels else []


def _draw_axes(root: ElementTree.Element, plot: _Plot, xlabel: str, ylabel: str) -> None:
    right = _WIDTH - _RIGHT
    grid = ElementTree.SubElement(root, "g", {"stroke": "currentColor", "stroke-opacity": "0.18"})
    room = int((right - _LEFT) / max(len(plot.x.ticks), 1) / _CHARACTER)
    for value, label in plot.x.ticks:
        at = float(plot.across(value))
        _path(grid, f"M{at:.1f} {plot.top:.1f}V{plot.bottom:.1f}")
        shown = _shortened(label, max(room, 4))
        half = _CHARACTER * len(shown) / 2
        tick = _text(root, min(at, _WIDTH - half), plot.bottom + 16, shown, anchor="middle", kind="x-tick")
        if shown != label:
            _title(tick, label)
    for value, label in plot.y.ticks:
        at = float(plot.down(value))
        _path(grid, f"M{_LEFT} {at:.1f}H{right}")
        _text(root, _LEFT - 6, at + 4, label, anchor="end", kind="y-tick")
    frame = ElementTree.SubElement(root, "g", {"stroke": "currentColor", "stroke-opacity": "0.6"})
    _path(frame, f"M{_LEFT} {plot.top:.1f}V{plot.bottom:.1f}H{right}")
    _text(root, (_LEFT + right) / 2, plot.bottom + 36, _shortened(xlabel, 58), anchor="middle")
    middle = (plot.top + plot.bottom) / 2
    _text(root, 12, middle, _shortened(ylabel, 34), anchor="middle", transform=f"rotate(-90 12 {middle:.1f})")


def _draw_series(
    root: ElementTree.Element,
    plot: _Plot,
    index: int,
    one: Series,
    points: tuple[np.ndarray, np.ndarray, np.ndarray, list[str]],
) -> None:
    x, y, error, labels = points
    group = ElementTree.SubElement(root, "g", {"class": "series", "style": _colour(index)})
    _title(group, one.name)
    across, down = plot.across(x), plot.down(y)
    if one.style != "points" and len(x) > 1:
        joined = " ".join(f"{a:.1f},{d:.1f}" for a, d in zip(across, down, strict=True))
        dashes = _dashes(one, index)
        line = {"points": joined, "fill": "none", "stroke": "currentColor", "stroke-width": "1.8"}
        ElementTree.SubElement(group, "polyline", line | {"stroke-linejoin": "round"} | dashes)
    low, high = plot.down(y - error), plot.down(y + error)
    for i in map(int, np.flatnonzero(error > 0)):
        bar = f"M{across[i]:.1f} {low[i]:.1f}V{high[i]:.1f}"
        caps = "".join(f"M{across[i] - 3:.1f} {end[i]:.1f}h6" for end in (low, high))
        _path(group, bar + caps, stroke="currentColor")
    if one.style == "line" and len(x) > 1:
        return
    for i in range(len(x)):
        place = {"cx": f"{across[i]:.1f}", "cy": f"{down[i]:.1f}", "r": "3.2", "fill": "currentColor"}
        circle = ElementTree.SubElement(group, "circle", place)
        if len(x) <= _MAX_DESCRIBED:
            what = labels[i] if labels else one.name
            _title(circle, f"{what}: {formats.number(float(x[i]))}, {formats.with_error(float(y[i]), float(error[i]))}")


def _legend_places(names: Sequence[str]) -> tuple[list[tuple[float, int]], int]:
    """(x, row) of every name of the legend, and the number of rows."""
    places: list[tuple[float, int]] = []
    x, row = float(_LEFT), 0
    for name in [*names[:_MAX_IN_LEGEND], *(["and more"] if len(names) > _MAX_IN_LEGEND else [])]:
        width = 24 + _CHARACTER * len(_shortened(name))
        if x > _LEFT and x + width > _WIDTH:
            x, row = float(_LEFT), row + 1
        places.append((x, row))
        x += width
    return places, row + 1 if places else 0


def _draw_legend(root: ElementTree.Element, series: Sequence[Series], places: list[tuple[float, int]]) -> None:
    """series: one of each name."""
    for index, (x, row) in enumerate(places):
        y = _TOP + _LINE * row
        if index == _MAX_IN_LEGEND:
            _text(root, x, y + 4, f"and {len(series) - _MAX_IN_LEGEND} more")
            continue
        key = ElementTree.SubElement(root, "g", {"style": _colour(index)})
        if series[index].style == "points":
            place = {"cx": f"{x + 8:.1f}", "cy": str(y), "r": "3.2", "fill": "currentColor"}
            ElementTree.SubElement(key, "circle", place)
        else:
            dashes = _dashes(series[index], index)
            _path(key, f"M{x:.1f} {y}h16", **{"stroke": "currentColor", "stroke-width": "2.5"}, **dashes)
        name = _text(root, x + 20, y + 4, _shortened(series[index].name))
        _title(name, series[index].name)


def _colour(index: int) -> str:
    index %= len(COLOURS)
    return f"color: var(--series-{index}, {COLOURS[index]})"


def _dashes(one: Series, index: int) -> dict[str, str]:
    """A dashed line where the series asks for it, and where its colour is another's already."""
    return {"stroke-dasharray": "5 4"} if one.dashed or index >= len(COLOURS) else {}


def _shortened(name: str, length: int = 44) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _path(parent: ElementTree.Element, d: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, "path", {"d": d, "fill": "none", **attributes})


def _text(
    parent: ElementTree.Element,
    x: float | int,
    y: float | int,
    text: str,
    *,
    anchor: str = "start",
    kind: str = "",
    transform: str = "",
) -> ElementTree.Element:
    optional = {"class": kind, "transform": transform}
    attributes = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor, "fill": "currentColor"}
    element = ElementTree.SubElement(parent, "text", attributes | {k: v for k, v in optional.items() if v})
    element.text = _clean(text)
    return element


def _title(parent: ElementTree.Element, text: str) -> None:
    ElementTree.SubElement(parent, "title").text = _clean(text)


def _clean(text: str) -> str:
    """The text without control characters and surrogates, which XML cannot hold."""
    return "".join(c if c.isprintable() else "?" for c in text)
