"""DDIM against DDPM at different numbers of steps: python -m experiments.ddim_or_ddpm

Draws 2,000 digits of the network of configs/digits.py with each sampler and number of steps, from the same noise and
without epsilon scaling, and compares them with the 1,797 real digits: in pixels, and in the features of a classifier of
the digits (Frechet distance, kernel distance, precision and recall). Writes results.json and quality.png.
"""

import pathlib
import time
from typing import Any

from diffax import data, devices, runs
from diffax.evaluation import features, metrics
from diffax.evaluation.metrics import Comparison, FeatureSet
from diffax.reporting import formats, images, plots
from experiments import common

HERE = pathlib.Path(__file__).parent
NUM_DIGITS, BATCH = 2000, 500
SAMPLERS: dict[str, dict[str, Any]] = {
    "DDIM": {"sampler": "ddim", "eta": 0.0},
    "DDPM, small variance": {"sampler": "ddpm", "variance": "small"},
    "DDPM, large variance": {"sampler": "ddpm", "variance": "large"},
}
STEPS = (5, 10, 20, 50, 100, 200)
# By the features that they are measured in.
METRICS = {"pixels": ("frechet",), "classifier": ("frechet", "kernel", "precision_recall")}


def main() -> None:
    args = common.parse_args(__doc__)
    devices.enable_compilation_cache()
    begun = time.monotonic()
    trained = common.trained_model("digits", args.runs, epsilon_scale=1.0)
    extractors, results = made_extractors(), dict[str, Any]()
    references = {name: FeatureSet.of(extract, *real()) for name, extract in extractors.items()}
    for name, options in SAMPLERS.items():
        results[name] = {}
        for num_steps in STEPS:
            chosen = trained.with_sampler(num_steps=num_steps, **options)
            found = measured(chosen, extractors, references)
            results[name][str(num_steps)] = {metric: list(estimate) for metric, estimate in found.items()}
            shown = ", ".join(f"{metric} {formats.with_error(*estimate)}" for metric, estimate in found.items())
            print(f"{name}, {num_steps} steps: {shown}", flush=True)
    if not args.no_write:
        plots.lines(HERE / "quality.png", panels(results), xlabel="steps", log="x")
        common.write(HERE / "results.json", results | {"seconds": round(time.monotonic() - begun, 1)})


def real() -> tuple[Any, Any]:
    """All real digits as bytes, and their labels."""
    everything = data.digits.load("all")
    return images.to_uint8(everything.to_network_range(everything.examples)), everything.labels


def made_extractors() -> dict[str, features.Extractor]:
    """Pixels, and a classifier trained on the 1,500 training images."""
    x, labels = real()
    made = {name: features.EXTRACTORS[name] for name in METRICS}
    return {"pixels": made["pixels"](), "classifier": made["classifier"](x[:1500], labels[:1500])}


def measured(
    trained: runs.Trained, extractors: dict[str, features.Extractor], references: dict[str, FeatureSet]
) -> dict[str, Any]:
    """{full name: estimate} of 2,000 digits."""
    drawn = images.to_uint8(trained.draw(NUM_DIGITS, batch_size=BATCH))
    result: dict[str, Any] = {}
    for name, extract in extractors.items():
        comparison = Comparison(FeatureSet.of(extract, drawn), references[name], None, reference_is_training=True)
        result |= metrics.measure(METRICS[name], comparison, name)
    return result


def panels(results: dict[str, Any]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Metrics against steps, for `plots.lines`."""
    names = next(iter(results["DDIM"].values()))
    return {
        metric: {
            sampler: (list(STEPS), [found[str(steps)][metric][0] for steps in STEPS])
            for sampler, found in results.items()
        }
        for metric in names
    }


if __name__ == "__main__":
    devices.configure()
    main()
