"""How long should the average of parameters be? `python -m experiments.ema_length` draws the curve for the digits.

Trains configs/digits_ddpm.py with snapshots of two power-function averages where runs/ema_length is not there yet,
makes averages of a dozen lengths of them (arXiv:2312.02696, section 3.2), draws 2,000 digits by each, and measures.
"""

import pathlib
from typing import Any

import jax
import numpy as np

from diffax import devices
from diffax.evaluation import frechet
from diffax.jobs import run_directory
from diffax.jobs.model import Model, Sampler
from diffax.reporting import plots
from diffax.training import posthoc
from experiments import common

HERE = pathlib.Path(__file__).parent
# Others are made of the snapshots of the first two; all are tracked to the end, for reconstructions to be held against.
TRACKED = (0.05, 0.1, 0.02, 0.15, 0.2, 0.25)
LENGTHS = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25)
NUM_SNAPSHOTS, NUM_DIGITS, SEEDS = 56, 2000, (0, 1, 2)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--num_steps", type=int, help="of training, instead of the config's")
    arguments = parser.parse_args()
    devices.enable_compilation_cache()
    workdir = arguments.runs / "ema_length"
    train(workdir, arguments.num_steps)
    config = run_directory.read_config(workdir)
    model = Model.build(config)
    step, saved = model.restore(workdir)
    snapshots = [s for s in posthoc.find(run_directory.ema_snapshots(workdir)) if s.index < 2]

    measured = Measured(model)
    made = {length: posthoc.reconstruct(snapshots, length, step, saved["params"]) for length in LENGTHS}
    direct = dict(zip(TRACKED, saved["ema"], strict=True))
    results: dict[str, Any] = {
        "step": step,
        "snapshots": len(snapshots) // 2,
        "frechet_reconstructed": {length: measured.distances(params) for length, params in made.items()},
        "frechet_tracked": {length: measured.distances(params) for length, params in direct.items()},
        "frechet_without_average": measured.distances(saved["params"]),
        "relative_error": {s: error(made[s], direct[s]) for s in sorted(direct) if s in made},
    }
    for name, values in results.items():
        print(name, values if not isinstance(values, dict) else "")
        for length, value in values.items() if isinstance(values, dict) else ():
            print(f"  {length:<8}{np.mean(value):.4f}  {value}")
    if not arguments.no_write:
        draw(results)
        common.write(HERE / "results.json", results)


def train(workdir: pathlib.Path, num_steps: int | None) -> None:
    """Trains the digits' config with other averages, unless that was done before."""
    num_steps = num_steps or 2800
    settings = {
        "ema.kinds": ("power",),
        "ema.lengths": TRACKED,
        "ema.snapshot_every": max(num_steps // NUM_SNAPSHOTS, 1),
        "train.num_steps": num_steps,
        "optimizer.warmup_steps": min(100, num_steps // 10),
    }
    flags = [f"--config.{key}={value}" for key, value in settings.items()]
    common.trained("digits_ddpm", workdir, *flags)


class Measured:
    """Pixel Frechet distances to all real digits, with the same noise for all parameters."""

    def __init__(self, model: Model):
        self._sampler, self._real = Sampler(model, 250), common.real_digits()

    def distances(self, params: Any) -> list[float]:
        draws = [self._sampler.draw(params, seed, NUM_DIGITS, None) for seed in SEEDS]
        return [round(frechet.distance_between(samples, self._real), 4) for samples in draws]


def error(made: Any, direct: Any) -> float:
    """|made - direct| / |direct| of all parameters together."""
    pairs = list(zip(jax.tree.leaves(made), jax.tree.leaves(direct), strict=True))
    difference = sum(float(np.sum((np.float64(a) - np.float64(b)) ** 2)) for a, b in pairs)
    return (difference / sum(float(np.sum(np.float64(b) ** 2)) for _, b in pairs)) ** 0.5


def draw(results: dict[str, Any]) -> None:
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
