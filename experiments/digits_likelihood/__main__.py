"""Likelihood and quality of DDPM, iDDPM, VE and EDM on digits: python -m experiments.digits_likelihood

Trains the models where `runs/` does not have them yet, each for 2,800 steps of 32 images. Measures bits per dimension
of 100 held-out digits by the probability-flow ODE and by the variational bound, of all 1,000 steps, of fewer and in
continuous time; the error of x_0 by noise level, and how many samples of EDM are mirrored digits; and 2,000 samples for
each number of evaluations against the 1,797 real digits. Writes results.json and quality.png.
"""

import json
import pathlib
from typing import Any

from diffax import devices, runs
from diffax.reporting import formats, plots, tables
from experiments import bits_per_dim, common, digit_quality, noise_levels
from experiments.digits_likelihood import causes

HERE = pathlib.Path(__file__).parent
PARTS = ("likelihood", "chains", "causes", "quality")
EVALUATIONS, NUM_EXAMPLES = (5, 10, 20, 50), 100
# Steps of the variational bound beside all of them.
CHAINS = (20, 50, 200)
DRAWS = "--config.likelihood.num_draws=100"
BOUND = ("--config.loss.name=variational_bound", "--config.loss.time_density.name=loss_second_moment")
AUGMENTED = (
    "--config.data.augment=geometric",
    "--config.data.augment.probability=0.12",
    "--config.model.dropout=0.13",
)
# The folder of the run, its config, and flags of its training.
MODELS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "DDPM": ("digits_ddpm", "digits_ddpm", ()),
    "iDDPM, hybrid": ("digits_iddpm", "digits_iddpm", ()),
    "iDDPM, bound": ("digits_iddpm_bound", "digits_iddpm", BOUND),
    "VE": ("digits_ve", "digits_ve", ()),
    "EDM": ("digits_edm", "digits_edm", ()),
    "EDM, augmented": ("digits_edm_augmented", "digits_edm", AUGMENTED),
}
IN_CONTINUOUS_TIME = ("VE", "EDM", "EDM, augmented")
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
    "EDM augmented, UniPC": ("EDM, augmented", {"sampler": "unipc", **KARRAS}),
}


def main() -> None:
    parser = common.make_parser(__doc__)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=PARTS, help="measured anew (default all)")
    parser.add_argument("--models", choices=MODELS, nargs="*", default=list(MODELS), help="measured anew (default all)")
    args = parser.parse_args()
    path = HERE / "results.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    workdirs = {name: args.runs / MODELS[name][0] for name in args.models}
    for name, workdir in workdirs.items():
        common.train_if_missing(MODELS[name][1], workdir, *MODELS[name][2])
    if "likelihood" in args.only:
        # The bound is that of the chain that a config samples by (iDDPM clips).
        bits = found.setdefault("bits per dimension", {})
        for name, workdir in workdirs.items():
            bits[name] = {way: bits_per_dim.measure(workdir, way, NUM_EXAMPLES, DRAWS) for way in ways(name)}
        print(bits_per_dim.table(bits), flush=True)
    if "chains" in args.only:
        of_chains = found.setdefault("bound of fewer steps", {})
        of_chains |= {name: chains(workdir) for name, workdir in workdirs.items()}
    if "causes" in args.only:
        of_x_0 = found.setdefault("error of x_0", {})
        of_x_0 |= {name: causes.errors(runs.open(workdir)) for name, workdir in workdirs.items()}
        print_errors(of_x_0)
        nearer = found.setdefault("share nearer to a mirrored digit", {})
        for name in workdirs.keys() & {"EDM", "EDM, augmented"}:
            nearer[name] = causes.mirrored(runs.open(workdirs[name]).with_sampler("unipc", num_steps=20, **KARRAS))
        print(nearer, flush=True)
    if "quality" in args.only:
        found["quality"] = found.get("quality", {}) | quality(workdirs)
    if not args.no_write and "quality" in found:
        plots.lines(
            HERE / "quality.png", digit_quality.panels(found["quality"]), xlabel="evaluations of the network", log="x"
        )
    if not args.no_write:
        common.write(path, {name: value for name, value in found.items() if name != "environment"})


def ways(name: str) -> tuple[str, ...]:
    return ("ode", "bound", "continuous_bound") if name in IN_CONTINUOUS_TIME else ("ode", "bound")


def chains(workdir: pathlib.Path) -> dict[str, dict[str, float]]:
    """The bound of chains of fewer steps, all of them computed: {steps: value and standard error}."""
    found = {}
    for steps in CHAINS:
        chain = (f"--config.likelihood.num_steps={steps}", "--config.likelihood.num_draws=0")
        result = bits_per_dim.measure(workdir, "bound", NUM_EXAMPLES, *chain)["all"]
        found[str(steps)] = {name: result[name] for name in ("bound", "bound_standard_error")}
    return found


def print_errors(found: dict[str, dict[str, float]]) -> None:
    rows = [[name, *(f"{value:.4f}" for value in of_model.values())] for name, of_model in found.items()]
    print(tables.markdown(["sigma / alpha", *map(str, noise_levels.NOISE)], rows), flush=True)


def quality(workdirs: dict[str, pathlib.Path]) -> dict[str, dict[str, Any]]:
    """Metrics of 2,000 samples by sampler and number of evaluations."""
    judge, found = digit_quality.Judge(), dict[str, dict[str, Any]]()
    for name, (model, options) in SAMPLERS.items():
        if model not in workdirs:
            continue
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
