"""Plots: scatter plots of points, sampler coefficients as curves, and measurements as line charts."""

import math
import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

from diffax.reporting import atomic, images

# Of numbers of a point, in a scatter plot.
_MOST_PAIRS = 4
# A logarithmic axis of so few values has its ticks at them.
_MOST_TICKS = 8


def scatter(
    path: str | os.PathLike,
    generated: npt.ArrayLike,
    real: npt.ArrayLike | None = None,
    *,
    titles: tuple[str, str] = ("generated", "data"),
    max_points: int = 5000,
) -> None:
    """Writes `scatter_picture` of the same arguments as a PNG file; the write is atomic.

    Raises:
        ValueError: as for `scatter_picture`.
    """
    images.save_png(path, scatter_picture(generated, real, titles=titles, max_points=max_points))


def scatter_picture(
    generated: npt.ArrayLike,
    real: npt.ArrayLike | None = None,
    *,
    titles: tuple[str, str] = ("generated", "data"),
    max_points: int = 5000,
) -> UInt8[np.ndarray, "height width 3"]:
    """A scatter plot of generated points (n, *dims) beside real ones (m, *dims) on the same axes, as an RGB picture.

    Numbers of a point that are more than two are drawn in pairs, one below the other: the first with the second, the
    third with the fourth, up to four pairs, an odd last one with the one before it. Single numbers are drawn as a
    histogram.

    The range of the axes is that of the real points plus a margin. Without real points the generated points are drawn
    alone, and the range is from their 1st to their 99th percentile plus a margin. The first max_points inside the axes
    are drawn. The title counts the points outside the axes, non-finite ones included.

    Args:
        real: None for the generated points alone.
        titles: of the generated and of the real points.

    Raises:
        ValueError: points without numbers, real points of another shape than the generated ones, or real points that
            are empty or not finite.
    """
    # The figure is made without pyplot, whose global state and choice of backend belong to the caller.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    arrays = [np.asarray(points) for points in (generated, real) if points is not None]
    for name, points in zip(("generated", "real"), arrays, strict=False):
        if points.ndim < 2 or points.shape[1:] != arrays[0].shape[1:] or 0 in points.shape[1:]:
            raise ValueError(f"{name} points must be (n, *dims), all of the same dims, got shape {points.shape}")
    panels = [points.reshape(len(points), math.prod(points.shape[1:])) for points in arrays]
    pairs = _pairs(panels[0].shape[1])
    figure = Figure(figsize=(4 * len(panels), 4.2 * len(pairs)), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for row, pair in zip(figure.subplots(len(pairs), len(panels), squeeze=False), pairs, strict=True):
        shown = [points[:, pair] for points in panels]
        low, high = _percentile_range(shown[0]) if real is None else _range(shown[1])
        margin = 0.15 * max(float((high - low).max()), 1e-6)
        for axes, points, title in zip(row, shown, titles, strict=False):
            num_outside = _draw(axes, points, low - margin, high + margin, max_points)
            axes.set_title(title + (f" ({num_outside} of {len(points)} outside)" if num_outside else ""))
            if len(pairs) > 1:
                axes.set(xlabel=f"number {pair[0] + 1}", ylabel=f"number {pair[1] + 1}")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _pairs(dim: int) -> list[list[int]]:
    """The numbers of a point that are drawn against each other: [[0, 1], [2, 3], ...]; [[0]] for single numbers."""
    if dim == 1:
        return [[0]]
    pairs = [[i, i + 1] if i + 1 < dim else [i - 1, i] for i in range(0, dim, 2)]
    return pairs[:_MOST_PAIRS]


def _draw(axes: Any, points: np.ndarray, low: np.ndarray, high: np.ndarray, max_points: int) -> int:
    """Draws points (n, 2) as dots or (n, 1) as a histogram, and returns how many lie outside of [low, high]."""
    inside = ((points >= low) & (points <= high)).all(axis=1)
    drawn = points[inside]
    if points.shape[1] == 1:
        axes.hist(drawn[:, 0], bins=60, range=(low[0], high[0]), density=len(drawn) > 0)
        axes.set(xlim=(low[0], high[0]), ylabel="density")
    else:
        axes.scatter(*drawn[:max_points].T, s=3, alpha=0.5, linewidths=0)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    return len(points) - len(drawn)


def _range(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(points) == 0 or not np.isfinite(points).all():
        raise ValueError("real points must be finite and at least one")
    return points.min(axis=0), points.max(axis=0)


def _percentile_range(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 1st and 99th percentiles of the finite points; without any, -1 and 1."""
    finite = points[np.isfinite(points).all(axis=1)]
    if len(finite) == 0:
        return -np.ones(points.shape[1]), np.ones(points.shape[1])
    # Without interpolation, which between a far outlier and its neighbour would stretch the axes.
    low, high = np.percentile(finite, [1, 99], axis=0, method="nearest")
    return low, high


def curves(path: str | os.PathLike, title: str, columns: Mapping[str, npt.ArrayLike]) -> None:
    """Writes a line plot of the columns (rows,) of a table over the row number as a PNG file.

    The column t has a panel of its own below. samplers.SamplerTable.columns() gives the columns for a plot of a
    sampler's coefficients.

    Raises:
        ValueError: columns of different lengths, or none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    arrays = {name: np.asarray(column, float) for name, column in columns.items()}
    if len({column.shape for column in arrays.values()}) != 1:
        raise ValueError(f"columns must be as long as each other, got { ({k: v.shape for k, v in arrays.items()}) }")
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name, column in arrays.items():
        (lower if name == "t" else upper).plot(column, marker=".", ms=4, lw=1, label=name)
    upper.set(title=title, ylabel="coefficient")
    upper.legend(frameon=False, ncols=4, fontsize="small")
    lower.set(xlabel="row", ylabel="t")
    with atomic.replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)


def lines(
    path: str | os.PathLike,
    panels: Mapping[str, Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]],
    *,
    xlabel: str,
    log: str = "",
    dashed: Collection[str] = (),
) -> None:
    """Writes a line chart as a PNG file: a panel for each quantity, side by side, with a line for each name.

    A name has the same colour in every panel. Points that are not finite are left out.

    Args:
        panels: {quantity: {name: (x, y)}}, x and y (n,). The quantity is the label of the panel's y axis.
        log: the logarithmic axes: "x", "y" or "xy".
        dashed: the names whose lines are dashed.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours = colormaps["tab10" if len(names) <= 10 else "tab20"](range(10 if len(names) <= 10 else 20))
    figure = Figure(figsize=(2 + 4.5 * len(panels), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    handles: dict[str, Any] = {}
    for axes, (ylabel, panel) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, (x, y) in panel.items():
            index = names.index(name)
            style = "--" if name in dashed else "-"
            marker = "os^D"[index // len(colours) % 4]
            (handles[name],) = axes.plot(
                x, y, style, marker=marker, ms=3, lw=1.2, color=colours[index % len(colours)], label=name
            )
        axes.set(xlabel=xlabel, ylabel=ylabel)
        for axis, scale in (("x", axes.set_xscale), ("y", axes.set_yscale)):
            if axis in log:
                scale("log")
        if "x" in log:  # only then is x a number for sure
            values = sorted({float(value) for x, _ in panel.values() for value in np.asarray(x)})
            if len(values) <= _MOST_TICKS:
                axes.set_xticks(values, [f"{value:g}" for value in values])
                axes.set_xticks([], minor=True)
        axes.grid(alpha=0.3)
    figure.legend(list(handles.values()), list(handles), loc="outside right upper", frameon=False, fontsize="small")
    with atomic.replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
