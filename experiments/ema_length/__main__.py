"""The best length of the exponential moving average (EMA): python -m experiments.ema_length

Trains configs/digits.py with snapshots of power-function averages where the run ema_length is not there yet,
reconstructs averages of a dozen lengths from the snapshots of two of them (post-hoc EMA, arXiv:2312.02696, section
3.2), and draws 2,000 digits with each. Writes results.json and frechet.png, the pixel Frechet distance against the
length.
"""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from diffax import devices, runs
from diffax.evaluation import frechet
from diffax.reporting import plots
from diffax.runs import directory
from diffax.training import ema, posthoc
from experiments import common

HERE = pathlib.Path(__file__).parent
# Averages are reconstructed from the snapshots of the lengths in STORED. All lengths in TRACKED are tracked during
# training; the reconstructions are compared with them.
STORED, TRACKED = (0.05, 0.1), (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)
LENGTHS = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25)
# The name of the average with decay 0, which is the last parameters.
LAST = "last"
NUM_SNAPSHOTS, NUM_DIGITS, SEEDS = 56, 2000, (0, 1, 2)


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--num_steps", type=int, help="training steps; those of the config by default")
    args = parser.parse_args()
    devices.enable_compilation_cache()
    workdir = args.runs / "ema_length"
    train(workdir, args.num_steps)
    trained, snapshots = runs.open(workdir), stored_snapshots(workdir)

    distances = Distances(trained)
    tracked = {length: trained.params(average_name(length)) for length in TRACKED}
    reconstructed = {
        length: posthoc.reconstruct(snapshots, length, trained.step, like=trained.params(LAST)) for length in LENGTHS
    }
    results: dict[str, Any] = {
        "step": trained.step,
        "snapshots": len(snapshots) // len(STORED),
        "frechet_reconstructed": {length: distances(params) for length, params in reconstructed.items()},
        "frechet_tracked": {length: distances(params) for length, params in tracked.items()},
        "frechet_without_average": distances(trained.params(LAST)),
        "relative_error": {
            length: relative_error(reconstructed[length], params)
            for length, params in tracked.items()
            if length in reconstructed
        },
    }
    for name, values in results.items():
        print(name, values if not isinstance(values, dict) else "")
        for length, value in values.items() if isinstance(values, dict) else ():
            print(f"  {length:<8}{np.mean(value):.4g}  {value}")
    if not args.no_write:
        plot(results)
        common.write(HERE / "results.json", results)


def average_name(length: float) -> str:
    """The key of config.ema of a tracked average: length_050 for 0.05."""
    return f"length_{round(1000 * length):03d}"


def train(workdir: pathlib.Path, num_steps: int | None) -> None:
    """Trains configs/digits.py with the averages in TRACKED, unless that run is there already."""
    num_steps = num_steps or 2800
    settings: dict[str, Any] = {
        "ema.constant": None,
        f"ema.{LAST}.name": "constant",
        f"ema.{LAST}.decay": 0.0,
        "sampler.average": average_name(STORED[0]),
        "train.snapshot_every": max(num_steps // NUM_SNAPSHOTS, 1),
        "train.num_steps": num_steps,
        "optimizer.warmup_steps": min(100, num_steps // 10),
    }
    for length in TRACKED:
        settings |= {f"ema.{average_name(length)}.name": "power", f"ema.{average_name(length)}.length": length}
    common.train_if_missing("digits", workdir, *(f"--config.{key}={value}" for key, value in settings.items()))


def stored_snapshots(workdir: pathlib.Path) -> list[posthoc.Snapshot]:
    """The snapshots of the lengths in STORED."""
    exponents = [ema.exponent_of(length) for length in STORED]
    found = posthoc.find(directory.ema_snapshots(workdir))
    return [snapshot for snapshot in found if np.isclose(snapshot.exponent, exponents).any()]


class Distances:
    """Pixel Frechet distances to all real digits, one for each seed, with the same noise for all parameters."""

    def __init__(self, trained: runs.Trained):
        self._trained, self._real = trained, common.real_digits()

    def __call__(self, params: Any) -> list[float]:
        model = dataclasses.replace(self._trained, load=lambda average: params)
        draws = [model.draw(NUM_DIGITS, seed=seed, batch_size=250) for seed in SEEDS]
        return [round(frechet.distance_between(samples, self._real), 4) for samples in draws]


def relative_error(params: Any, expected: Any) -> float:
    """|params - expected| / |expected|, with the norm over all parameters together."""
    pairs = list(zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True))
    difference = sum(float(np.sum((np.float64(a) - np.float64(b)) ** 2)) for a, b in pairs)
    return (difference / sum(float(np.sum(np.float64(b) ** 2)) for _, b in pairs)) ** 0.5


def plot(results: dict[str, Any]) -> None:
    """Writes frechet.png."""
    curves = {
        name: (sorted(values), [np.mean(values[length]) for length in sorted(values)])
        for name, values in (
            ("reconstructed", results["frechet_reconstructed"]),
            ("tracked", results["frechet_tracked"]),
            ("last parameters", dict.fromkeys((min(LENGTHS), max(LENGTHS)), results["frechet_without_average"])),
        )
    }
    plots.lines(
        HERE / "frechet.png",
        {"pixel Frechet distance": curves},
        xlabel="relative length of the average",
        log="x",
        dashed=("tracked", "last parameters"),
    )


if __name__ == "__main__":
    devices.configure()
    main()
