"""How good generated digits are, in pixels and in the features of a classifier of the digits; and over a sweep."""

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Collection, Mapping
from typing import Any

from diffax import data, runs
from diffax.evaluation import features, measurement, metrics
from diffax.evaluation.metrics import Comparison, FeatureSet
from diffax.evaluation.uncertainty import Estimate
from diffax.reporting import formats, images, plots, tables
from diffax.sweeps import summary
from experiments import common

NUM_DIGITS, BATCH = 2000, 500
# By the features that they are measured in.
METRICS = {"pixels": ("frechet",), "classifier": ("frechet", "kernel", "precision_recall")}


class Judge:
    """Measures samples against the 1,797 real digits; the classifier is trained on the 1,500 training images."""

    def __init__(self, names: Mapping[str, tuple[str, ...]] = METRICS) -> None:
        self._names = names
        everything = data.digits.load("all")
        x, labels = images.to_uint8(everything.to_network_range(everything.examples)), everything.labels
        made = features.EXTRACTORS
        self._extractors = {"pixels": made["pixels"](), "classifier": made["classifier"](x[:1500], labels[:1500])}
        self._references = {name: FeatureSet.of(extract, x, labels) for name, extract in self._extractors.items()}

    def measure(self, trained: runs.Trained, seed: int = 0) -> dict[str, Estimate]:
        """{full name: estimate} of 2,000 digits."""
        drawn, result = images.to_uint8(trained.draw(NUM_DIGITS, batch_size=BATCH, seed=seed)), dict[str, Estimate]()
        for name, extract in self._extractors.items():
            generated = FeatureSet.of(extract, drawn)
            comparison = Comparison(generated, self._references[name], None, reference_is_training=True)
            result |= metrics.measure(self._names[name], comparison, name)
        return result

    def curve(
        self, trained: runs.Trained, samplers: Mapping[int, Mapping[str, Any]], path: pathlib.Path, seed: int = 0
    ) -> dict[str, dict[str, Estimate]]:
        """{number of evaluations: {full name: estimate}}, kept in the file path: what is there is not measured again.

        samplers: settings of the sampler, the arguments of `runs.Trained.with_sampler`, by the number of evaluations.
        """
        found = json.loads(path.read_text()) if path.exists() else {}
        for evaluations, settings in samplers.items():
            if str(evaluations) not in found:
                measured = self.measure(trained.with_sampler(**settings), seed)
                found[str(evaluations)] = {metric: list(estimate) for metric, estimate in measured.items()}
                path.write_text(json.dumps(found))
                shown = ", ".join(f"{metric} {formats.with_error(*estimate)}" for metric, estimate in measured.items())
                print(f"{path.parent.name}, {evaluations} evaluations: {shown}", flush=True)
        numbers = map(str, samplers)
        return {number: {name: Estimate(*pair) for name, pair in found[number].items()} for number in numbers}


def panels(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Metrics against evaluations for `plots.lines`, a line for each name, of {name: {evaluations: {metric: pair}}}."""
    metric_names = list(next(iter(next(iter(found.values())).values())))
    return {
        metric: {
            name: ([int(number) for number in rows], [measured[metric][0] for measured in rows.values()])
            for name, rows in found.items()
        }
        for metric in metric_names
    }


def distances(found: dict[str, dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """The panels of the distances, which a logarithmic axis can show; not those of precision and recall."""
    return {name: panel for name, panel in panels(found).items() if name.startswith(("frechet", "kernel"))}


def table(
    found: dict[str, dict[str, dict[str, Any]]], label: str, trained_on: Mapping[str, Collection[str]] | None = None
) -> str:
    """A table in Markdown of {name: {evaluations: {metric: pair}}}.

    label: the heading of the names. trained_on: {name: features that its loss was computed in}, whose metrics get a †.
    """

    def cell(name: str, metric: str, pair: tuple[float, float | None]) -> str:
        # Wavelets are linear in the pixels.
        features = "pixels" if metric.startswith("frechet_wavelet") else metric.partition("/")[2].partition("@")[0]
        return formats.with_error(*pair) + " †" * (features in (trained_on or {}).get(name, ()))

    rows = [
        [name, number, *(cell(name, metric, pair) for metric, pair in values.items())]
        for name, curve in found.items()
        for number, values in curve.items()
    ]
    return tables.markdown([label, "evaluations", *next(iter(next(iter(found.values())).values()))], rows)


Row = tuple[str, int]  # the label of points that differ in their seed alone, and the number of evaluations


def sweep(name: str, evaluations: tuple[int, ...], here: pathlib.Path, args: argparse.Namespace) -> None:
    """Trains configs/sweeps/NAME.py over configs/digits.py, measures its points, and writes a table and a figure."""
    workdir = args.runs / f"digits-{name}"
    files = ["--config", "configs/digits.py", "--sweep", f"configs/sweeps/{name}.py", "--workdir", str(workdir)]
    subprocess.run([sys.executable, "launch.py", *files, "--where", "local", *args.options], check=True)
    made = json.loads((workdir / summary.JSON).read_text())
    averaged = _measured(workdir, made["points"], evaluations)
    metric_names = list(next(iter(averaged.values())))
    rows = [
        [*map(str, row), *(formats.with_error(*pair) for pair in found.values())] for row, found in averaged.items()
    ]
    print(tables.markdown([name, "evaluations", *metric_names], rows))
    if args.no_write:
        return
    plots.lines(here / "quality.png", _panels(averaged, metric_names), xlabel="evaluations", log="x")
    results = {f"{label}, {number} evaluations": found for (label, number), found in averaged.items()}
    seconds = round(sum(point["seconds"] for point in made["points"]))
    common.write(here / "results.json", {"results": results, "seconds of training": seconds, "losses": made["rows"]})


def _measured(
    workdir: pathlib.Path, points: list[dict[str, Any]], evaluations: tuple[int, ...]
) -> dict[Row, dict[str, tuple[float, float | None]]]:
    """{row: {metric: (mean, standard error)}} over points that differ in their seed alone."""
    judge, found = Judge(), dict[Row, dict[str, list[Estimate]]]()
    for point in points:
        settings = [str(value) for path, value in point["values"].items() if path != "seed"]
        trained = runs.open(workdir / point["path"])
        for number in evaluations:
            values = found.setdefault((point["label"] or ", ".join(settings), number), {})
            for metric, estimate in judge.measure(trained.with_sampler(num_steps=number)).items():
                values.setdefault(metric, []).append(estimate)
        print(f"{point['name']} is measured", flush=True)
    return {row: {metric: _averaged(of_seeds) for metric, of_seeds in values.items()} for row, values in found.items()}


def _averaged(estimates: list[Estimate]) -> tuple[float, float | None]:
    return measurement.over_seeds(dict(enumerate(estimates)))


def _panels(averaged: dict[Row, Any], metric_names: list[str]) -> dict[str, Any]:
    """Metrics against evaluations, for `plots.lines`."""
    panels: dict[str, dict[str, tuple[list[int], list[float]]]] = {metric: {} for metric in metric_names}
    for (label, number), found in averaged.items():
        for metric, (value, _) in found.items():
            x, y = panels[metric].setdefault(label, ([], []))
            x.append(number)
            y.append(value)
    return panels


def parse_args(description: str | None) -> argparse.Namespace:
    """The command line of an experiment over a sweep."""
    parser = common.make_parser(description)
    parser.add_argument("options", nargs="*", help="more flags of launch.py, after --")
    return parser.parse_args()
