"""What does computing in bfloat16 cost? python -m experiments.precision

Trains configs/digits_ddpm.py as it is and with model.dtype=bfloat16 (parameters, moments and averages stay float32),
where runs/digits_ddpm and runs/digits_bfloat16 are not there yet, draws 2,000 digits with each of three seeds, and
compares the pixel Frechet distances to all real digits. Writes results.json.
"""

import pathlib
from typing import Any

import numpy as np

from diffax import devices
from diffax.evaluation import frechet
from diffax.jobs import run_directory, sample
from experiments import common

HERE = pathlib.Path(__file__).parent
NUM_DIGITS, SEEDS = 2000, (0, 1, 2)


def main() -> None:
    arguments = common.arguments(__doc__)
    devices.enable_compilation_cache()
    runs: dict[str, tuple[str, ...]] = {"digits_ddpm": (), "digits_bfloat16": ("--config.model.dtype=bfloat16",)}
    results: dict[str, Any] = {}
    for name, options in runs.items():
        common.trained("digits_ddpm", arguments.runs / name, *options)
        results[name] = distances(arguments.runs / name)
        print(f"{name:<20}{np.mean(results[name]):.4f}  {results[name]}", flush=True)
    means = [float(np.mean(results[name])) for name in runs]
    results["bfloat16 / float32, means"] = means[1] / means[0]
    print(f"ratio {results['bfloat16 / float32, means']:.3f}")
    if not arguments.no_write:
        common.write(HERE / "results.json", results)


def distances(workdir: pathlib.Path) -> list[float]:
    """Of 2,000 digits with every seed, by the run's own sampler."""
    config, real = run_directory.read_config(workdir), common.real_digits()
    draws = [np.load(sample.run(config, workdir, num_samples=NUM_DIGITS, seed=seed))["samples"] for seed in SEEDS]
    return [round(frechet.distance_between(samples, real), 4) for samples in draws]


if __name__ == "__main__":
    devices.configure()
    main()
