"""Scatter plots of points in the plane, the columns of a table as curves, and measurements as lines."""

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from diffax.reporting import atomic


def scatter(
    path: str | os.PathLike,
    generated: npt.ArrayLike,
    real: npt.ArrayLike,
    *,
    titles: tuple[str, str] = ("generated", "data"),
    max_points: int = 5000,
) -> None:
    """Writes a PNG with generated points (n, 2) beside real ones (m, 2), on the same axes, which the real ones set.

    The first max_points of each are drawn; points outside the axes and non-finite points are not, and the title counts
    them.

    Raises:
        ValueError: arrays that are not (n, 2), or real points that are empty or not finite.
    """
    # The figure is made without pyplot, whose global state and choice of backend belong to the caller.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    generated, real = np.asarray(generated), np.asarray(real)
    for name, points in (("generated", generated), ("real", real)):
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"{name} points must be (n, 2), got shape {points.shape}")
    if len(real) == 0 or not np.isfinite(real).all():
        raise ValueError("real points must be finite and at least one")
    low, high = real.min(axis=0), real.max(axis=0)
    margin = 0.15 * max(float((high - low).max()), 1e-6)
    low, high = low - margin, high + margin

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, points, title in zip(figure.subplots(1, 2), (generated, real), titles, strict=True):
        inside = ((points >= low) & (points <= high)).all(axis=1)
        num_outside = len(points) - int(inside.sum())
        shown = points[inside][:max_points]
        axes.scatter(shown[:, 0], shown[:, 1], s=3, alpha=0.5, linewidths=0)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        axes.set_title(title + (f" ({num_outside} of {len(points)} outside)" if num_outside else ""))
    with atomic.replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)


def curves(path: str | os.PathLike, title: str, columns: Mapping[str, npt.ArrayLike]) -> None:
    """Writes a PNG with every column (rows,) drawn over the row number, t in a panel of its own below.

    samplers.SamplerTable.columns() gives what to draw: which coefficients a sampler uses where.

    Raises:
        ValueError: columns of different lengths, or none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = {name: np.asarray(column, float) for name, column in columns.items()}
    if len({column.shape for column in drawn.values()}) != 1:
        raise ValueError(f"columns must be as long as each other, got { ({k: v.shape for k, v in drawn.items()}) }")
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name, column in drawn.items():
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
    """Writes a PNG with a panel for each quantity, side by side, and in it a line (x, y) for each name.

    A name has the same colour in every panel. Points that are not finite are left out.

    Args:
        panels: the quantity, which labels the panel's y axis, to name to (x, y), both (n,).
        log: the axes that are logarithmic, of "x", "y" and "xy".
        dashed: the names whose lines are.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours = colormaps["tab10" if len(names) <= 10 else "tab20"](range(10 if len(names) <= 10 else 20))
    figure = Figure(figsize=(2 + 4.5 * len(panels), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    shown: dict[str, Any] = {}
    for axes, (ylabel, panel) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name, (x, y) in panel.items():
            index = names.index(name)
            style = "--" if name in dashed else "-"
            marker = "os^D"[index // len(colours) % 4]
            (shown[name],) = axes.plot(
                x, y, style, marker=marker, ms=3, lw=1.2, color=colours[index % len(colours)], label=name
            )
        axes.set(xlabel=xlabel, ylabel=ylabel)
        for axis, scale in (("x", axes.set_xscale), ("y", axes.set_yscale)):
            if axis in log:
                scale("log")
        axes.grid(alpha=0.3)
    figure.legend(list(shown.values()), list(shown), loc="outside right upper", frameon=False, fontsize="small")
    with atomic.replacing(path) as file:
        figure.savefig(file, format="png", dpi=110)
