"""How good is cifar_small, and how should it be sampled? python -m experiments.cifar_quality --photographs DIR

Trains configs/cifar_small.py on the photographs in DIR (train/CLASS/*, test/CLASS/*) where `runs/` does not have it
yet, and compares its samples with the 10,000 test photographs in the features of EfficientNet-Lite0 (extra `features`):

- the grid: 1,000 samples for every number of evaluations, guidance scale and average, which choose the last two;
- the chosen setting: 10,000 other samples for each number of evaluations, which report its quality;
- DDIM against DDPM of both variances, 1,000 samples each, without guidance;
- other recipes trained as long: 1,000 samples by evaluations and guidance, and the error of x_0 by noise level.

Samples are drawn in bfloat16, in half the time where processor and jaxlib compute it natively (diffax.devices).
Writes results.json, quality.png and samples.png, 80 samples of the chosen setting.
"""

import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np

from diffax import build_data, devices, runs
from diffax.evaluation import real
from diffax.reporting import images, plots
from experiments import common, noise_levels, photographs
from experiments.photographs import DRAWN, evaluated, listed

HERE = pathlib.Path(__file__).parent
EVALUATIONS, SCALES, AVERAGES = (10, 20, 50), (1, 2, 3), ("short", "medium", "long")
OTHER_SCALES = (1, 2)
CHOOSE = "kernel"
PARTS = ("grid", "chosen", "samples", "ddpm", "others", "errors")
RECIPE = "cifar_small"
LOGIT_NORMAL = (
    "--config.loss.time_density=logit_normal",
    "--config.loss.time_density.mean=-0.6",
    "--config.loss.time_density.std=1.0",
)
# Other recipes for the same network, by the folder of their run.
OTHERS = {
    "cifar_small_v": (
        "--config.parameterization=v",
        "--config.loss.weighting=velocity",
        "--config.loss.time_density=uniform",
    ),
    "cifar_small_logit_normal": LOGIT_NORMAL,
    "cifar_small_unseen": ("--config.parameterization.as_input=False", *LOGIT_NORMAL),
}
NUM_EXAMPLES = 256  # of the error of x_0
DDPM = {
    "DDIM": (),
    "DDPM, small variance": ("--config.sampler.name=ddpm", "--config.sampler.variance=small"),
    "DDPM, large variance": ("--config.sampler.name=ddpm", "--config.sampler.variance=large"),
}


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--photographs", type=pathlib.Path, required=True, help="a folder with train/CLASS, test/CLASS")
    parser.add_argument("--only", choices=PARTS, nargs="*", default=PARTS, help="measured anew (default all)")
    args = parser.parse_args()
    workdir, path = args.runs / RECIPE, HERE / "results.json"
    data = photographs.flags(args.photographs)
    for name, flags in {RECIPE: (), **OTHERS}.items():
        if name == RECIPE or {"others", "errors"}.intersection(args.only):
            common.train_if_missing(RECIPE, args.runs / name, *data, *flags)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if "grid" in args.only:
        found["grid"] = evaluated(
            workdir, 1_000, EVALUATIONS, f"--guidance_scales={listed(SCALES)}", f"--averages={listed(AVERAGES)}"
        )
    if "chosen" in args.only:
        found["chosen"] = chosen(workdir, found["grid"])
    if "samples" in args.only:
        draw_samples(workdir, found["chosen"])
    if "ddpm" in args.only:
        found["ddpm"] = {
            name: evaluated(workdir, 1_000, EVALUATIONS, "--guidance_scales=1", *flags) for name, flags in DDPM.items()
        }
    if "others" in args.only:
        setting = (f"--guidance_scales={listed(OTHER_SCALES)}", "--averages=long")
        found["others"] = {name: evaluated(args.runs / name, 1_000, EVALUATIONS, *setting) for name in OTHERS}
    if "errors" in args.only:
        found["error of x_0"] = {name: errors(args.runs / name) for name in (RECIPE, *OTHERS)}
    if args.no_write:
        return
    common.write(path, {name: value for name, value in found.items() if name != "environment"})
    if "grid" in found and "others" in found:
        curves = {"guidance": found["grid"]} | {f"{name}, guidance": found["others"][name] for name in OTHERS}
        dashed = [f"{name}, guidance {scale}" for name in OTHERS for scale in OTHER_SCALES]
        plots.lines(HERE / "quality.png", panels(curves), xlabel="evaluations of the network", log="x", dashed=dashed)


def chosen(workdir: pathlib.Path, grid: list[dict[str, Any]]) -> dict[str, Any]:
    """10,000 samples of another seed by the guidance scale and average that the grid chooses."""
    scale, average = best(grid)
    setting = (f"--guidance_scales={scale:g}", f"--averages={average}")
    return {
        "chosen by": f"the mean {CHOOSE} distance over {listed(EVALUATIONS)} evaluations, 1,000 samples of seed 0",
        "guidance": scale,
        "average": average,
        "measurements": evaluated(workdir, 10_000, EVALUATIONS, *setting, "--seeds=1"),
    }


def draw_samples(workdir: pathlib.Path, setting: dict[str, Any]) -> None:
    """Writes samples.png: the first 80 samples of the chosen setting, a class in each column."""
    flags = (
        f"--num_steps={EVALUATIONS[-1]}",
        f"--guidance_scale={setting['guidance']}",
        f"--ema={setting['average']}",
        "--seed=1",
        *DRAWN,
    )
    command = [sys.executable, "launch.py", "--workdir", str(workdir), "--mode=sample", "--num_samples=80"]
    done = subprocess.run([*command, *flags], check=True, text=True, stdout=subprocess.PIPE)
    preview = pathlib.Path(done.stdout.strip().splitlines()[-1].strip())  # in the directory of the set
    examples = runs.sample_set(preview.parent).examples
    first = examples.to_network_range(examples.batch(np.arange(80))["x"])
    images.save_png(HERE / "samples.png", images.grid(first, 10), scale=2)


def best(grid: list[dict[str, Any]]) -> tuple[float, str]:
    """The guidance scale and average of the smallest mean kernel distance over all numbers of evaluations."""
    found: dict[tuple[float, str], list[float]] = {}
    for row in grid:
        if row["metric"].startswith(f"{CHOOSE}/"):
            found.setdefault((row["guidance"], row["average"]), []).append(row["value"])
    return min(found, key=lambda setting: sum(found[setting]))


def errors(workdir: pathlib.Path) -> dict[str, float]:
    """The error of x_0 by noise level, of held-out photographs with their labels."""
    trained = runs.open(workdir)
    _, held_out = build_data.splits(trained.config)
    batch = held_out.batch(real.rows_of(held_out, NUM_EXAMPLES))
    return noise_levels.errors(trained, held_out.to_network_range(batch["x"]), {"label": batch["label"]}, num_draws=1)


def panels(curves: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Kernel and Frechet distance of the long average against evaluations, a line for every guidance scale.

    curves: {beginning of the lines' names: measurements}.
    """
    shown: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for name, rows in curves.items():
        for row in sorted(rows, key=lambda row: row["num_evaluations"]):
            if row["metric"].partition("/")[0] in ("frechet", "kernel") and row["average"] == "long":
                x, y = shown.setdefault(row["metric"], {}).setdefault(f"{name} {row['guidance']:g}", ([], []))
                x.append(row["num_evaluations"])
                y.append(row["value"])
    return shown


if __name__ == "__main__":
    devices.configure()
    main()
