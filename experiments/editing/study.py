"""What the editing of digits and of photographs share: edits over strengths, and what is measured of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from diffax import samplers
from diffax.reporting import images
from diffax.runs import Trained, editing

STEPS = 50
# What --mode edit takes by default.
SAMPLER: dict[str, Any] = {"sampler": "unipc", "order": 2}
BATCH = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """Images to be edited, and how edits are judged.

    x, labels: the images, (n, *dims) in [-1, 1], and their classes. targets: the classes that they are edited to.
    classify: images to their classes. styles: the names of the measures of style. style: images to measures (n, k).
    of_class: mean and standard deviation of each measure for real images of each class, (2, classes, k).
    """

    x: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    classify: Callable[[np.ndarray], np.ndarray]
    styles: tuple[str, ...]
    style: Callable[[np.ndarray], np.ndarray]
    of_class: np.ndarray

    def correlations(self, x: np.ndarray) -> dict[str, list[float]]:
        """The correlation of each style of x, of classes `targets`, with that of the originals, and its error.

        Measures are standardized by those of real images of their class: that an eight has more ink than a one is no
        style.
        """
        own, other = (
            (self.style(images) - self.of_class[0, labels]) / self.of_class[1, labels]
            for images, labels in ((self.x, self.labels), (x, self.targets))
        )
        found = {}
        for k, name in enumerate(self.styles):
            r = float(np.corrcoef(own[:, k], other[:, k])[0, 1])
            found[name] = [r, (1 - r**2) / np.sqrt(len(x) - 1)]
        return found

    def judged(self, x: np.ndarray) -> dict[str, Any]:
        """Label agreement with its standard error, correlations of style, and the mean change of a pixel."""
        agreement = float(np.mean(self.classify(x) == self.targets))
        return {
            "label agreement": [agreement, float(np.sqrt(agreement * (1 - agreement) / len(x)))],
            "style": self.correlations(x),
            "change": float(np.abs(x - self.x).mean() / 2),
        }


def of_classes(measured: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Mean and standard deviation of measures (n, k) for each class, (2, classes, k)."""
    parts = [measured[labels == label] for label in range(num_classes)]
    return np.stack([[part.mean(0) for part in parts], [part.std(0) for part in parts]])


def ddim_error(model: Trained, study: Study) -> float:
    """The mean absolute error of reconstructions by DDIM, STEPS evaluations each way, as a share of the range."""
    plain = editing.without_guidance(model.with_sampler("ddim", num_steps=STEPS))
    up, down = editing.tables(plain)
    run, total = jax.jit(lambda table, denoiser, x: samplers.run(None, denoiser, table, x)), 0.0
    for start in range(0, len(study.x), BATCH):
        x = study.x[start : start + BATCH]
        denoiser = plain.denoiser(condition={"label": study.labels[start : start + BATCH]})
        total += float(np.abs(np.asarray(run(down, denoiser, run(up, denoiser, x))) - x).sum())
    return total / study.x.size / 2  # the range is 2


def measure(
    model: Trained, study: Study, strengths: tuple[float, ...]
) -> tuple[dict[str, Any], dict[float, np.ndarray]]:
    """(what is measured of the edits at each strength and of fresh samples of the same classes, the edits)."""
    model = model.with_sampler(num_steps=STEPS, **SAMPLER)
    edits = {strength: edited(model, study.x, study.labels, study.targets, strength) for strength in strengths}
    fresh = model.draw(len(study.x), labels=study.targets, batch_size=BATCH)
    results = {
        "step": model.step,
        "guidance scale": float(model.config.sampler.guidance.get("scale", 1.0)),
        "reconstruction error": {
            "ddim": ddim_error(model, study),
            "unipc": float(edits[max(strengths)].error.mean()) / 2,
        },
        "edits": {f"{strength:g}": study.judged(edit.edited) for strength, edit in edits.items()},
        "fresh": study.judged(fresh),
        "originals": {"label agreement": float(np.mean(study.classify(study.x) == study.labels))},
    }
    return results, {strength: edit.edited for strength, edit in edits.items()}


def edited(model: Trained, x: np.ndarray, labels: np.ndarray, targets: np.ndarray, strength: float) -> editing.Edit:
    """Images of these labels edited to others."""
    values = {"label": labels.astype(np.int32)}, {"label": targets.astype(np.int32)}
    return editing.edit(model, x, *values, strength=strength, num_states=0, batch_size=BATCH)


def every_target(model: Trained, x: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
    """The first image of each class that there is, each followed by its edits to every class, row by row."""
    num = int(model.num_classes or 0)
    model = model.with_sampler(num_steps=STEPS, **SAMPLER)
    _, firsts = np.unique(labels, return_index=True)
    rows, targets = np.repeat(firsts, num), np.tile(np.arange(num), len(firsts))
    made = edited(model, x[rows], labels[rows], targets, strength).edited.reshape(len(firsts), num, *x.shape[1:])
    return np.concatenate([x[firsts][:, None], made], axis=1).reshape(-1, *x.shape[1:])


def side_by_side(parts: list[np.ndarray], num_columns: int) -> np.ndarray:
    """Grids of images beside each other, with white between."""
    grids = [images.grid(part, num_columns) for part in parts]
    gap = np.full((grids[0].shape[0], 6, grids[0].shape[2]), 255, np.uint8)
    return np.concatenate([piece for grid in grids for piece in (grid, gap)][:-1], axis=1)


def report(name: str, results: dict[str, Any]) -> None:
    """Prints what was measured of one model."""
    errors = ", ".join(f"{sampler} {error:.5f}" for sampler, error in results["reconstruction error"].items())
    print(f"{name}: reconstruction error / range: {errors}")
    for strength, judged in [*results["edits"].items(), ("fresh", results["fresh"])]:
        agreement, error = judged["label agreement"]
        styles = "  ".join(f"{style} {r:.2f} +- {e:.2f}" for style, (r, e) in judged["style"].items())
        print(f"  {strength:>6}: agreement {agreement:.3f} +- {error:.3f}  {styles}  change {judged['change']:.3f}")
