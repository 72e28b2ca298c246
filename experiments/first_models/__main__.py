"""How good are the models of the first three configs? `python -m experiments.first_models` prints the table.

Trains what is not yet trained (runs/NAME), draws, measures, and writes results.json and the figures of README.md.
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np

from diffax import data, devices
from diffax.evaluation import frechet, sliced_wasserstein
from diffax.jobs import sample
from diffax.jobs.run_directory import read_config
from diffax.reporting import images, plots
from experiments import common

HERE = pathlib.Path(__file__).parent
CONFIGS = ("digits_ddpm", "digits_conditional", "spiral_ddpm")
NUM_DIGITS, NUM_POINTS, NUM_DRAWS = 2000, 4096, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"), help="where run directories are")
    parser.add_argument("--only", choices=CONFIGS, nargs="*", default=CONFIGS)
    parser.add_argument("--no_write", action="store_true", help="print only")
    arguments = parser.parse_args()
    devices.enable_compilation_cache()
    results = {}
    for name in arguments.only:
        workdir = arguments.runs / name
        results[name] = {
            "training_seconds": common.trained(name, workdir),
            **measure(name, workdir, not arguments.no_write),
        }
    for name, values in results.items():
        print(f"\n{name}")
        for what, value in values.items():
            print(f"  {what:<64}{value:>10.4f}" if isinstance(value, float) else f"  {what:<64}{value!s:>10}")
    if not arguments.no_write:
        environment = devices.describe()
        # Every model keeps the machine it was measured on: --only replaces its own entries.
        path = HERE / "results.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        kept |= {name: {"results": values, "environment": environment} for name, values in results.items()}
        path.write_text(json.dumps(kept, indent=2) + "\n")


def measure(name: str, workdir: pathlib.Path, write: bool) -> dict[str, Any]:
    """Draws by the run's own sampler and compares with real data."""
    config = read_config(workdir)
    is_points = config.data.name in data.toy.DISTRIBUTIONS
    num_samples, seeds = (NUM_POINTS, range(1)) if is_points else (NUM_DIGITS, range(NUM_DRAWS))
    draws = [np.load(sample.run(config, workdir, num_samples=num_samples, seed=seed)) for seed in seeds]
    if is_points:
        return measure_points(name, config.data.name, draws[0]["samples"], write)
    if write:
        images.save_png(HERE / f"{name}.png", draws[0]["samples"][:100], scale=4)
    return measure_digits([draw["samples"] for draw in draws], draws[0].get("labels"))


def measure_digits(draws: list[np.ndarray], labels: np.ndarray | None) -> dict[str, Any]:
    """Pixel Frechet distance to all 1,797 real digits, and how often a classifier sees the digit asked for.

    A distance of 2,000 images has a spread of its own, and the model has not seen the last 297: draws with replacement
    from its training images, one of them as large as a draw of the model, are what it could reach.
    """
    flat = common.real_digits()
    rng = np.random.default_rng(0)
    gaussian = rng.multivariate_normal(*frechet.moments(flat), NUM_DIGITS)
    redrawn = [frechet.distance_between(flat[rng.integers(0, 1500, NUM_DIGITS)], flat) for _ in range(20)]
    distances = [frechet.distance_between(samples, flat) for samples in draws]
    results: dict[str, Any] = {
        "pixel Frechet distance of the samples, seed 0": distances[0],
        f"its mean over {len(draws)} seeds": float(np.mean(distances)),
        "its standard deviation over seeds": float(np.std(distances, ddof=1)),
        "the same of training images drawn with replacement, mean of 20": float(np.mean(redrawn)),
        "its standard deviation": float(np.std(redrawn, ddof=1)),
        "the same of a Gaussian with the data's moments": frechet.distance_between(gaussian, flat),
        "the same of the 1,500 training images": frechet.distance_between(flat[:1500], flat),
    }
    if labels is not None:
        classifier = common.digit_classifier()
        agrees = classifier.predict(draws[0].reshape(NUM_DIGITS, -1).astype(np.float64)) == labels
        results["share of samples an SVM reads as the digit asked for"] = float(agrees.mean())
        held_out = data.digits.load("test").labels
        results["share of held-out images it reads right"] = float(classifier.score(flat[1500:], held_out))
    return results


def measure_points(name: str, distribution: str, samples: np.ndarray, write: bool) -> dict[str, Any]:
    """Sliced Wasserstein distance to held-out points, beside that between pairs of real sets."""
    sets = [data.toy.load(distribution, "test", num_points=len(samples), seed=seed).examples for seed in range(11)]
    between = [sliced_wasserstein.distance(sets[0], other) for other in sets[1:]]
    ours = float(np.mean([sliced_wasserstein.distance(samples, other) for other in sets[1:]]))
    if write:
        plots.scatter(HERE / f"{name}.png", samples, sets[0])
    return {
        "sliced Wasserstein distance to held-out points": ours,
        "the same between two real sets": float(np.mean(between)),
        "ratio": ours / float(np.mean(between)),
    }


if __name__ == "__main__":
    devices.configure()
    main()
