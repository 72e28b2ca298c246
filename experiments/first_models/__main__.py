"""Sample quality of the models of the small configs: python -m experiments.first_models

Trains what is not in the folder of run directories yet, draws samples, measures their distance to real data, and prints
the table. Writes results.json and the pictures of README.md.
"""

import json
import pathlib
from typing import Any

import numpy as np

from diffax import data, devices, runs
from diffax.evaluation import Moments, frechet, sliced_wasserstein
from diffax.reporting import images, plots
from experiments import common

HERE = pathlib.Path(__file__).parent
CONFIGS = ("digits", "digits_ddpm", "digits_conditional", "spiral")
NUM_DIGITS, NUM_POINTS, NUM_SEEDS, BATCH = 2000, 4096, 3, 256


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--only", choices=CONFIGS, nargs="*", default=CONFIGS, help="measure only these")
    args = parser.parse_args()
    devices.enable_compilation_cache()
    for name in args.only:
        workdir = args.runs / name
        values = {
            "training_seconds": common.train_if_missing(name, workdir),
            **measure(name, runs.open(workdir), not args.no_write),
        }
        print(f"\n{name}")
        for what, value in values.items():
            print(
                f"  {what:<64}{value:>10.4f}" if isinstance(value, float) else f"  {what:<64}{value!s:>10}", flush=True
            )
        if not args.no_write:
            # Each model keeps the machine that it was measured on: --only replaces the entries of its own models.
            path = HERE / "results.json"
            kept = json.loads(path.read_text()) if path.exists() else {}
            kept[name] = {"results": values, "environment": devices.describe()}
            path.write_text(json.dumps(kept, indent=2) + "\n")


def measure(name: str, trained: runs.Trained, write: bool) -> dict[str, Any]:
    """Draws samples with the sampler of the config and measures their distance to real data."""
    if trained.config.data.name in data.toy.DISTRIBUTIONS:
        points = trained.draw(NUM_POINTS, batch_size=BATCH)
        return measure_points(name, trained.config.data.name, points, write)
    # One seed where a sample takes hundreds of evaluations.
    num_seeds = NUM_SEEDS if trained.config.sampler.num_steps <= 200 else 1
    draws = [trained.draw(NUM_DIGITS, seed=seed, batch_size=BATCH) for seed in range(num_seeds)]
    if write:
        images.save_png(HERE / f"{name}.png", draws[0][:100], scale=4)
    return measure_digits(draws, trained.model.labels(NUM_DIGITS))


def measure_digits(draws: list[np.ndarray], labels: np.ndarray | None) -> dict[str, Any]:
    """The pixel Frechet distance to all 1,797 real digits, and how often a classifier reads the label as conditioned.

    The distance of 2,000 images has sampling noise, and the model has not seen the last 297 digits. Therefore the
    distance of as many training images, drawn with replacement, is reported as well: it is what a perfect model of the
    training images has.
    """
    flat = common.real_digits()
    rng = np.random.default_rng(0)
    fitted = Moments.of(flat)
    gaussian = rng.multivariate_normal(fitted.mean, fitted.covariance, NUM_DIGITS)
    redrawn = [frechet.distance_between(flat[rng.integers(0, 1500, NUM_DIGITS)], flat) for _ in range(20)]
    distances = [frechet.distance_between(samples, flat) for samples in draws]
    results: dict[str, Any] = {
        "pixel Frechet distance of the samples, seed 0": distances[0],
        f"its mean over {len(draws)} seeds": float(np.mean(distances)),
        "its standard deviation over seeds": float(np.std(distances, ddof=1)) if len(draws) > 1 else None,
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
    """The sliced Wasserstein distance to held-out points, and the same distance between pairs of real sets."""
    sets = [data.toy.load(distribution, "test", num_points=len(samples), seed=seed).examples for seed in range(11)]
    between = [sliced_wasserstein.distance(sets[0], other) for other in sets[1:]]
    generated = float(np.mean([sliced_wasserstein.distance(samples, other) for other in sets[1:]]))
    if write:
        plots.scatter(HERE / f"{name}.png", samples, sets[0])
    return {
        "sliced Wasserstein distance to held-out points": generated,
        "the same between two real sets": float(np.mean(between)),
        "ratio": generated / float(np.mean(between)),
    }


if __name__ == "__main__":
    devices.configure()
    main()
