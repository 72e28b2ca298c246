"""Editing digits and photographs by inversion: python -m experiments.editing

Inverts 100 held-out digits under their own labels and generates them under others, by the network of
configs/digits_conditional.py (under the cosine schedule, whose inversion is DDIM's) and by its sibling on the flow
schedule that predicts the flow velocity. Both are trained first if --runs does not have them. Measures the
reconstruction, how often a classifier reads the new label, and how much of slant and stroke is kept, over strengths.
Writes results.json, digits.png, strengths.png, curves.png and three.png.

With --photographs RUN [RUN ...] instead: the same of run directories of class-conditional models of images, on held-out
images of their data. Writes photographs.json and photographs_strengths.png.
"""

import argparse
import pathlib
import time
from typing import Any

import numpy as np

from diffax import build_data, data, devices, runs
from diffax.evaluation.features.classifier import classifier
from diffax.reporting import images, plots
from diffax.runs import Trained, opening
from diffax.runs import directory as run_directory
from experiments import common
from experiments.context.captions import measured
from experiments.editing import study
from experiments.editing.study import Study

HERE = pathlib.Path(__file__).parent
STRENGTHS, SHOWN = (0.4, 0.7, 1.0), 1.0
# The recipe of digits_conditional.py for a flow; its loss is the plain error of the velocity, at logit-normal times.
FLOW = (
    *("--config.schedule=flow", "--config.parameterization=flow", "--config.loss.weighting=flow"),
    "--config.loss.time_density.mean=0.0",
)


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--photographs", nargs="+", metavar="RUN", help="edit photographs by these runs instead")
    parser.add_argument("--num", type=int, default=100, help="how many images (default 100)")
    args = parser.parse_args()
    devices.enable_compilation_cache()
    if args.photographs:
        models = {pathlib.Path(path).name: in_float32(pathlib.Path(path)) for path in args.photographs}
        compare(models, photographs(next(iter(models.values())), args.num), args, "photographs")
    else:
        compare(digit_models(args.runs), digits(args.num), args, "digits")


def digit_models(directory: pathlib.Path) -> dict[str, Trained]:
    """The two networks of digits, trained if they are not there."""
    paths = {"DDIM": directory / "digits_conditional", "flow": directory / "digits_conditional_flow"}
    for name, path in paths.items():
        common.train_if_missing("digits_conditional", path, *(FLOW if name == "flow" else ()))
    return {name: runs.open(path) for name, path in paths.items()}


def in_float32(directory: pathlib.Path) -> Trained:
    """The trained model of a run, also of one in bfloat16, whose rounding would be part of a reconstruction's error."""
    config = run_directory.read_config(directory)
    if config is None:
        raise SystemExit(f"{directory} is no run's directory")
    config.model.dtype = "float32"
    return opening.open_with(directory.absolute(), config)


def digits(num: int) -> Study:
    """Held-out digits, each edited to one other label, so that all pairs of labels are about as frequent."""
    train, test = data.digits.load("train"), data.digits.load("test")
    svm = common.digit_classifier()

    def style(x: np.ndarray) -> np.ndarray:
        stroke, slant, _ = measured(np.clip((x + 1) / 2, 0, 1)).T
        return np.stack([slant, stroke], axis=1)

    real = style(train.to_network_range(train.examples))
    x, labels = test.to_network_range(test.examples[:num]), np.asarray(test.labels)[:num]
    return Study(
        x=np.asarray(x),
        labels=labels,
        targets=(labels + 1 + np.arange(len(labels)) % 9) % 10,
        classify=lambda x: svm.predict(x.reshape(len(x), -1).astype(np.float64)),
        styles=("slant", "stroke"),
        style=style,
        of_class=study.of_classes(real, np.asarray(train.labels), 10),
    )


def photographs(model: Trained, num: int) -> Study:
    """Held-out images of a run's data; their style is brightness, contrast and warmth (red less blue)."""
    train, test = build_data.splits(model.config)
    classes = int(model.num_classes or 0)
    whole = data.dataset.in_memory("the classifier", train)
    extractor = classifier(whole.examples, np.asarray(whole.labels))
    rows = np.random.default_rng(0).permutation(len(test))[:num]
    batch = test.batch(rows)

    def style(x: np.ndarray) -> np.ndarray:
        colour = x.mean((1, 2))
        return np.stack([colour.mean(1), x.std((1, 2, 3)), colour[:, 0] - colour[:, -1]], axis=1)

    def classify(x: np.ndarray) -> np.ndarray:
        probabilities = extractor(images.to_uint8(x)).probabilities
        assert probabilities is not None
        return probabilities.argmax(axis=1)

    real = whole.batch(np.random.default_rng(1).permutation(len(whole))[:5000])
    return Study(
        x=np.asarray(test.to_network_range(batch["x"])),
        labels=batch["label"],
        targets=(batch["label"] + 1 + np.arange(len(rows)) % (classes - 1)) % classes,
        classify=classify,
        styles=("brightness", "contrast", "warmth"),
        style=style,
        of_class=study.of_classes(style(np.asarray(train.to_network_range(real["x"]))), real["label"], classes),
    )


def compare(models: dict[str, Trained], images_of: Study, args: argparse.Namespace, kind: str) -> None:
    """Measures every model, and writes results and pictures."""
    begun, results, grids, rows = time.monotonic(), dict[str, Any](), [], []
    for name, model in models.items():
        results[name], edits = study.measure(model, images_of, STRENGTHS)
        study.report(name, results[name])
        if kind == "digits":
            grids.append(study.every_target(model, images_of.x, images_of.labels, SHOWN))
        shown = np.stack([images_of.x[:10], *(edits[strength][:10] for strength in STRENGTHS)], axis=1)
        rows.append(shown.reshape(-1, *shown.shape[2:]))
    if args.no_write:
        return
    is_digits, scale = kind == "digits", 5 if kind == "digits" else 2
    strengths = "strengths.png" if is_digits else f"{kind}_strengths.png"
    images.save_png(HERE / strengths, study.side_by_side(rows, 1 + len(STRENGTHS)), scale=scale)
    if is_digits:
        columns = 1 + int(next(iter(models.values())).num_classes or 0)
        images.save_png(HERE / "digits.png", study.side_by_side(grids, columns), scale=scale)
        draw_curves(results, images_of.styles)
        # A digit in a file of its own, to try --mode edit with.
        three = images_of.x[np.flatnonzero(images_of.labels == 3)[0]]
        images.save_png(HERE / "three.png", images.to_uint8(three))
    written = results | {"images": len(images_of.x), "seconds": round(time.monotonic() - begun, 1)}
    common.write(HERE / ("results.json" if is_digits else f"{kind}.json"), written)


def draw_curves(results: dict[str, Any], styles: tuple[str, ...]) -> None:
    """Label agreement and the style that is kept over strengths; dashed: fresh samples of the same labels."""

    def lines(of: Any) -> dict[str, tuple[Any, Any]]:
        found = {name: (STRENGTHS, [of(one["edits"][f"{s:g}"]) for s in STRENGTHS]) for name, one in results.items()}
        fresh = {f"{name}, fresh": (STRENGTHS, [of(one["fresh"])] * len(STRENGTHS)) for name, one in results.items()}
        return found | fresh

    panels = {"label agreement": lines(lambda one: one["label agreement"][0])}
    panels |= {f"correlation of {style}": lines(lambda one, style=style: one["style"][style][0]) for style in styles}
    plots.lines(HERE / "curves.png", panels, xlabel="strength", dashed=[f"{name}, fresh" for name in results])


if __name__ == "__main__":
    devices.configure()
    main()
