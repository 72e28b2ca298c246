"""Straightness and one-step quality of rectified flows of points: python -m experiments.rectified_flow

Trains flows of the spiral and the two moons where runs/ does not have them yet: with independent pairs of noise and
data, with optimal-transport coupling, and twice and three times rectified. Measures their straightness and the distance
of their samples to real points by the number of Euler steps. Writes results.json, trajectories.png and one_step.png.
"""

import dataclasses
import json
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

import launch
from diffax import data, devices, runs, samplers
from diffax.evaluation import energy, sliced_wasserstein
from diffax.runs import trained as trained_models
from experiments import common

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = pathlib.Path(__file__).parent
DATA, SEEDS = ("swiss_roll", "two_moons"), (0, 1, 2)
# The models, in the order of training: what each starts from and whose pairs it learns, and its further settings.
MODELS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "1-rectified": (None, ()),
    "1-rectified, OT coupling": (None, ("--config.train.coupling=exact",)),
    "2-rectified": ("1-rectified", ()),
    "3-rectified": ("2-rectified", ()),
}
SETTINGS = (
    "--config.model.hidden=64",
    "--config.train.batch_size=256",
    "--config.train.num_steps=2000",
    "--config.train.log_every=1000",
    "--config.train.checkpoint_every=2000",
    "--config.evaluators.samples=None",
    "--config.evaluators.held_out_loss.every=2000",
)
NUM_PAIRS, NUM_POINTS, NUM_STEPS, EVALUATIONS = 20_000, 2048, 100, (1, 2, 5, 100)


def main() -> None:
    args = common.make_parser(__doc__).parse_args()
    devices.enable_compilation_cache()
    results: dict[str, Any] = {"num_pairs": NUM_PAIRS, "num_points": NUM_POINTS, "cpu_seconds": {}}
    models: dict[tuple[str, str], runs.Trained] = {}
    for name in DATA:
        found: dict[str, list[dict[str, float]]] = {model: [] for model in MODELS}
        for seed in SEEDS:
            folder = args.runs / "rectified_flow" / f"{name}-{seed}"
            for model in MODELS:
                results["cpu_seconds"][f"{name}, {model}, seed {seed}"] = train(folder, name, model, seed)
                opened = alike(runs.open(folder / slug(model)), models)
                found[model].append(measure(opened, name, seed))
                if seed == SEEDS[0]:
                    models[name, model] = opened
        results[name] = {model: summary(values) for model, values in found.items()} | {"real": real_distances(name)}
        print(f"\n{name}\n{table(results[name])}", flush=True)
    if not args.no_write:
        draw_trajectories(models)
        draw_one_step(models)
        common.write(HERE / "results.json", results)


def slug(model: str) -> str:
    """The directory of a model."""
    return model.replace(", ", "_").replace(" ", "_")


def train(folder: pathlib.Path, name: str, model: str, seed: int) -> float:
    """Trains a model, making the pairs of its teacher first, unless it is there; returns the CPU seconds that took."""
    workdir, (teacher, settings) = folder / slug(model), MODELS[model]
    if (workdir / "cost.json").exists():
        return json.loads((workdir / "cost.json").read_text())["cpu_seconds"]
    begun, options = time.process_time(), [*SETTINGS, f"--config.seed={seed}", f"--config.data.name={name}", *settings]
    if teacher is not None:
        source = folder / slug(teacher)
        command("--workdir", source, "--mode=reflow", f"--num_samples={NUM_PAIRS}", "--batch_size=2000")
        [pairs] = (source / "pairs").iterdir()
        options = [option for option in options if "data.name" not in option]
        options += ["--config.data.name=pairs", f"--config.data.path={pairs}", "--init_from", str(source)]
    command("--config", "configs/spiral_flow.py", "--workdir", workdir, *options)
    seconds = round(time.process_time() - begun, 1)
    (workdir / "cost.json").write_text(json.dumps({"cpu_seconds": seconds}))
    return seconds


def alike(model: runs.Trained, models: dict[tuple[str, str], runs.Trained]) -> runs.Trained:
    """The model with the network object of those before it, so that one compiled program serves all."""
    for other in models.values():
        same = dataclasses.replace(model.model, network=other.model.network, time_input=other.model.time_input)
        return dataclasses.replace(model, model=same)
    return model


def command(*arguments: object) -> None:
    """launch.py in this process."""
    if code := launch.main(["launch.py", *map(str, arguments)]):
        raise SystemExit(code)


def trajectories(model: runs.Trained, num_points: int, num_steps: int, seed: int) -> jax.Array:
    """The states (num_steps + 1, points, 2) of Euler's method from the noise of a seed on."""
    times = samplers.grids.uniform(num_steps)
    keys = trained_models.sample_keys(seed, np.arange(num_points, dtype=np.int32))
    euler = samplers.euler(model.schedule, times)
    start = samplers.prior(keys, euler, (2,))
    return jnp.concatenate([start[None], _states(model.denoiser(), euler, start)])


@jax.jit
def _states(denoiser: Any, table: samplers.SamplerTable, x: jax.Array) -> jax.Array:
    return samplers.run(None, denoiser, table, x, save_every=1)[1]


@jax.jit
def _straightness(denoiser: Any, schedule: Any, x: jax.Array) -> jax.Array:
    return samplers.straightness(denoiser, schedule, samplers.grids.uniform(len(x) - 1), x)


def measure(model: runs.Trained, name: str, seed: int) -> dict[str, float]:
    """Straightness, and two distances to real points for each number of Euler steps."""
    states = trajectories(model, NUM_POINTS, NUM_STEPS, seed)
    values = {"straightness": float(_straightness(model.denoiser(), model.schedule, states).mean())}
    real = data.toy.load(name, "test", num_points=NUM_POINTS, seed=100 + seed).examples
    for num_steps in EVALUATIONS:
        points = np.asarray(trajectories(model, NUM_POINTS, num_steps, seed)[-1])
        values[f"energy@{num_steps}"] = energy.distance(points, real)
        values[f"sliced Wasserstein@{num_steps}"] = sliced_wasserstein.distance(points, real)
    return values


def summary(values: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard error over seeds."""
    return {
        key: {"mean": float(np.mean(over)), "standard_error": float(np.std(over, ddof=1) / len(over) ** 0.5)}
        for key in values[0]
        for over in [[value[key] for value in values]]
    }


def real_distances(name: str) -> dict[str, dict[str, float]]:
    """The same distances between two sets of real points."""
    sets = [
        data.toy.load(name, "test", num_points=NUM_POINTS, seed=100 + seed).examples for seed in (*SEEDS, 10, 11, 12)
    ]
    pairs = list(zip(sets[:3], sets[3:], strict=True))
    return summary(
        [{"energy": energy.distance(*pair), "sliced Wasserstein": sliced_wasserstein.distance(*pair)} for pair in pairs]
    )


def table(results: dict[str, Any]) -> str:
    """A table in Markdown: straightness, and the distances by the number of steps."""
    columns = ["straightness", *(f"energy@{n}" for n in EVALUATIONS), "sliced Wasserstein@1", "sliced Wasserstein@100"]
    lines = ["| model | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for model in MODELS:
        cells = [results[model][column] for column in columns]
        lines.append(
            f"| {model} | " + " | ".join(f"{c['mean']:.4f} +- {c['standard_error']:.4f}" for c in cells) + " |"
        )
    return "\n".join(lines)


def draw_trajectories(models: dict[tuple[str, str], runs.Trained]) -> None:
    """Writes trajectories.png: the paths from noise (grey dots) to samples (red dots) of the models."""
    figure, panels = plt.subplots(len(DATA), len(MODELS), figsize=(14, 7.4), layout="constrained")
    for row, name in zip(panels, DATA, strict=True):
        for axes, model in zip(row, MODELS, strict=True):
            states = np.asarray(trajectories(models[name, model], 120, NUM_STEPS, 0))
            axes.plot(states[..., 0], states[..., 1], color="tab:blue", alpha=0.35, lw=0.7)
            axes.scatter(*states[0].T, s=5, color="0.5", zorder=3, label="noise, t = 1")
            axes.scatter(*states[-1].T, s=6, color="tab:red", zorder=3, label="sample, t = 0")
            axes.set(title=f"{name}: {model}", aspect="equal", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2))
    panels[0, 0].legend(loc="upper left", fontsize="small")
    figure.supxlabel("first coordinate (standardised)")
    figure.supylabel("second coordinate (standardised)")
    figure.savefig(HERE / "trajectories.png", dpi=80)
    plt.close(figure)


def draw_one_step(models: dict[tuple[str, str], runs.Trained]) -> None:
    """Writes one_step.png: samples of one Euler step of every model."""
    figure, panels = plt.subplots(len(DATA), len(MODELS), figsize=(12, 6.4), layout="constrained")
    for row, name in zip(panels, DATA, strict=True):
        for axes, model in zip(row, MODELS, strict=True):
            points = np.asarray(trajectories(models[name, model], 2000, 1, 0)[-1])
            axes.scatter(*points.T, s=2, alpha=0.5, linewidths=0)
            axes.set(title=f"{name}: {model}", aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
    figure.supxlabel("first coordinate (standardised)")
    figure.supylabel("second coordinate (standardised)")
    figure.savefig(HERE / "one_step.png", dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    devices.configure()
    main()
