"""Computing in bfloat16 against float32: python -m experiments.precision

Trains configs/digits.py as it is and with model.dtype=bfloat16 (parameters, optimizer moments and EMA stay float32)
where the runs digits and digits_bfloat16 are not there yet, draws 2,000 digits with each of three seeds, and compares
the pixel Frechet distances to all real digits. Writes results.json.
"""

import pathlib
from typing import Any

import numpy as np

from diffax import devices, runs
from diffax.evaluation import frechet
from experiments import common

HERE = pathlib.Path(__file__).parent
NUM_DIGITS, SEEDS, BATCH = 2000, (0, 1, 2), 256
# Name of the run to what it changes in the config.
RUNS: dict[str, tuple[str, ...]] = {"digits": (), "digits_bfloat16": ("--config.model.dtype=bfloat16",)}


def main() -> None:
    args = common.parse_args(__doc__)
    devices.enable_compilation_cache()
    results: dict[str, Any] = {}
    for name, options in RUNS.items():
        common.train_if_missing("digits", args.runs / name, *options)
        results[name] = distances(runs.open(args.runs / name))
        print(f"{name:<20}{np.mean(results[name]):.4f}  {results[name]}", flush=True)
    means = [float(np.mean(results[name])) for name in RUNS]
    results["bfloat16 / float32, means"] = means[1] / means[0]
    print(f"ratio {results['bfloat16 / float32, means']:.3f}")
    if not args.no_write:
        common.write(HERE / "results.json", results)


def distances(trained: runs.Trained) -> list[float]:
    """The pixel Frechet distance of 2,000 digits for every seed, with the sampler of the config."""
    real = common.real_digits()
    draws = [trained.draw(NUM_DIGITS, seed=seed, batch_size=BATCH) for seed in SEEDS]
    return [round(frechet.distance_between(samples, real), 4) for samples in draws]


if __name__ == "__main__":
    devices.configure()
    main()
