"""Likelihood and quality of DDPM, iDDPM, VE and EDM on digits: python -m experiments.digits_likelihood

Trains the five models where `runs/` does not have them yet, each for 2,800 steps of 32 images. Measures bits per
dimension of 100 held-out digits by the probability-flow ODE and by the variational bound, of all 1,000 steps and of
fewer, and 2,000 samples for each number of evaluations against the 1,797 real digits. Writes results.json and
quality.png.
"""

import json
import pathlib
from typing import Any

from diffax import devices, runs
from diffax.reporting import formats, plots
from experiments import bits_per_dim, common, digit_quality

HERE = pathlib.Path(__file__).parent
EVALUATIONS, NUM_EXAMPLES = (5, 10, 20, 50), 100
# Steps of the variational bound beside all of them.
CHAINS = (20, 50, 200)
DRAWS = "--config.likelihood.num_draws=100"
BOUND = ("--config.loss.name=variational_bound", "--config.loss.time_density.name=loss_second_moment")
# Config, and flags of its training.
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "DDPM": ("digits_ddpm", ()),
    "iDDPM, hybrid": ("digits_iddpm", ()),
    "iDDPM, bound": ("digits_iddpm", BOUND),
    "VE": ("digits_ve", ()),
    "EDM": ("digits_edm", ()),
}
KARRAS = {"grid": "karras"}
# Model, and settings of its sampler; Heun's method makes 2 N - 1 evaluations.
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DDPM, large variance": ("DDPM", {"sampler": "ddpm", "variance": "large"}),
    "DDPM, small variance": ("DDPM", {"sampler": "ddpm", "variance": "small"}),
    "iDDPM, learned variance": ("iDDPM, hybrid", {"sampler": "ancestral"}),
    "iDDPM, large variance": ("iDDPM, hybrid", {"sampler": "ddpm", "variance": "large"}),
    "iDDPM, small variance": ("iDDPM, hybrid", {"sampler": "ddpm", "variance": "small"}),
    "iDDPM bound, learned variance": ("iDDPM, bound", {"sampler": "ancestral"}),
    "VE, UniPC": ("VE", {"sampler": "unipc", **KARRAS}),
    "EDM, UniPC": ("EDM", {"sampler": "unipc", **KARRAS}),
}


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--only", choices=("likelihood", "chains", "quality"), nargs="*", default=None)
    args = parser.parse_args()
    path = HERE / "results.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    workdirs = {name: args.runs / _folder(config, flags) for name, (config, flags) in MODELS.items()}
    for name, (config, flags) in MODELS.items():
        common.train_if_missing(config, workdirs[name], *flags)
    only = args.only or ("likelihood", "chains", "quality")
    if "likelihood" in only:
        # The bound is that of the chain that a config samples by (iDDPM clips).
        found["bits per dimension"] = {
            name: {way: bits_per_dim.measure(workdir, way, NUM_EXAMPLES, DRAWS) for way in ("ode", "bound")}
            for name, workdir in workdirs.items()
        }
        print(bits_per_dim.table(found["bits per dimension"]), flush=True)
    if "chains" in only:
        found["bound of fewer steps"] = {name: chains(workdir) for name, workdir in workdirs.items()}
    if "quality" in only:
        found["quality"] = quality(workdirs)
    if not args.no_write and "quality" in found:
        plots.lines(
            HERE / "quality.png", digit_quality.panels(found["quality"]), xlabel="evaluations of the network", log="x"
        )
    if not args.no_write:
        common.write(path, {name: value for name, value in found.items() if name != "environment"})


def _folder(config: str, flags: tuple[str, ...]) -> str:
    return f"{config}_bound" if flags else config


def chains(workdir: pathlib.Path) -> dict[str, dict[str, float]]:
    """The bound of chains of fewer steps, all of them computed: {steps: value and standard error}."""
    found = {}
    for steps in CHAINS:
        chain = (f"--config.likelihood.num_steps={steps}", "--config.likelihood.num_draws=0")
        result = bits_per_dim.measure(workdir, "bound", NUM_EXAMPLES, *chain)["all"]
        found[str(steps)] = {name: result[name] for name in ("bound", "bound_standard_error")}
    return found


def quality(workdirs: dict[str, pathlib.Path]) -> dict[str, dict[str, Any]]:
    """Metrics of 2,000 samples by sampler and number of evaluations."""
    judge, found = digit_quality.Judge(), dict[str, dict[str, Any]]()
    for name, (model, options) in SAMPLERS.items():
        trained = runs.open(workdirs[model])
        for evaluations in EVALUATIONS:
            measured = judge.measure(trained.with_sampler(num_steps=evaluations, **options))
            found.setdefault(name, {})[str(evaluations)] = {key: list(value) for key, value in measured.items()}
            shown = ", ".join(f"{metric} {formats.with_error(*value)}" for metric, value in measured.items())
            print(f"{name}, {evaluations} evaluations: {shown}", flush=True)
    return found


if __name__ == "__main__":
    devices.configure()
    main()
