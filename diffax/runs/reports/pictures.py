"""The parts of a report that are pictures: samples over training, and the denoising trajectory."""

import io
import pathlib
import re

import numpy as np

from diffax.reporting import images, plots
from diffax.reporting.page import Pictures, Section
from diffax.runs.reports.curves import spread
from diffax.runs.trajectory import Trajectory

_STEP = re.compile(r"\d{8}\.png")
_MAX_FRAMES, _MAX_BYTES = 16, 8_000_000


def over_training(workdir: pathlib.Path) -> Section | None:
    """The pictures that evaluators drew during training, each with a slider over the steps; None where there are none.

    At most 16 of one kind and 8 MB of all, evenly spaced, with the last.
    """
    found: dict[str, list[pathlib.Path]] = {}
    for folder in sorted(path for path in workdir.iterdir() if path.is_dir()):
        paths = sorted(path for path in folder.iterdir() if _STEP.fullmatch(path.name))
        if paths:
            found[folder.name] = paths
    parts = []
    for name, paths in found.items():
        budget, size = _MAX_BYTES / len(found), max(path.stat().st_size for path in paths)
        most = int(min(_MAX_FRAMES, max(budget // max(size, 1), 2)))
        chosen = [paths[index] for index in spread(len(paths), most)]
        parts.append(Pictures([(f"step {int(path.stem):,}", path.read_bytes()) for path in chosen], name))
    caption = "What the evaluators drew, with the same noise at every step. Move the slider to see training."
    return Section("Samples over training", parts, caption) if parts else None


def denoising(trajectory: Trajectory, *, sampler: str, is_image: bool) -> Section:
    """States of the sampler from noise to samples: images side by side, points under a slider."""
    calls = trajectory.num_evaluations
    caption = (
        f"The states of {sampler} after {', '.join(map(str, calls))} evaluations of the network, divided by "
        "sqrt(alpha^2 + sigma^2): "
    )
    if is_image:
        states = np.clip(trajectory.states, -1, 1).swapaxes(0, 1)  # (batch, saved, *dims)
        scale = max(1, round(images.VISIBLE_SIZE / states.shape[2]))
        grid = images.grid(states.reshape(-1, *states.shape[2:]), num_columns=len(calls))
        picture = Pictures([("trajectory", _png(images.picture(grid, scale)))], "trajectory")
        return Section("Denoising trajectory", [picture], caption + "noise on the left, samples on the right.")
    frames = [
        (f"{count} evaluations", _png(plots.scatter_picture(state, titles=(f"after {count} evaluations", ""))))
        for count, state in zip(calls, trajectory.states, strict=True)
    ]
    return Section("Denoising trajectory", [Pictures(frames, "denoising")], caption + "from noise to samples.")


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, format="PNG")
    return buffer.getvalue()
