"""The cost of a training step of each method of one or few steps: python -m experiments.benchmarks.flow_maps

Takes training steps of the methods of experiments/few_steps, each under its own config, in turns with the flow of
configs/digits_flow.py, and compares CPU seconds within each round: other work on the machine hardly changes their
ratios. The flow's steps have 32 images, as all but those of drifting models and FD-loss. MeanFlow is also measured with
guidance folded into training. Writes flow_maps.json.
"""

import pathlib
import time
from collections.abc import Callable, Iterable

import jax
import numpy as np

from diffax import build_data, build_training, config_file, resolve, runs
from experiments import common
from experiments.few_steps import methods

HERE = pathlib.Path(__file__).parent
STEPS, ROUNDS = 4, 11
PLAIN = "1-rectified flow"
# Guidance folded into training.
GUIDED = {
    "MeanFlow": ("--config.conditions.label.drop=0.1", "--config.loss.omega=1.5", "--config.loss.kappa=0.5"),
    "improved MeanFlow": ("--config.conditions.label.drop=0.1", "--config.loss.max_scale=8"),
}


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    runners = {name: runner(config, flags) for name, (config, flags) in cases().items()}
    seconds = {name: np.empty(ROUNDS) for name in runners}
    for name, run in runners.items():
        run()
        print(f"{name}: compiled", flush=True)
    for number in range(ROUNDS):
        for name, run in runners.items():
            begun = time.process_time()
            run()
            seconds[name][number] = (time.process_time() - begun) / STEPS
    results = {name: summary(values, seconds[PLAIN]) for name, values in seconds.items()}
    for name, values in results.items():
        print(f"{name:<40}", "  ".join(f"{what} {value:.3g}" for what, value in values.items()))
    if not args.no_write:
        common.write(HERE / "flow_maps.json", {"steps": STEPS, "rounds": ROUNDS, "methods": results})


def cases() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Config and settings of each method that does not learn pairs, with and without guidance where it has some."""
    compared = {name: method for name, method in methods.METHODS.items() if method.evaluations and not method.pairs}
    plain = {name: (method.config, method.settings) for name, method in compared.items()}
    return plain | {f"{name}, guided": (plain[name][0], (*plain[name][1], *GUIDED[name])) for name in GUIDED}


def summary(values: np.ndarray, plain: np.ndarray) -> dict[str, float]:
    """CPU seconds of a step, and its cost in steps of the flow; median and quartiles over rounds."""
    low, middle, high = np.quantile(values / plain, [0.25, 0.5, 0.75])
    seconds = float(np.median(values))
    return {"CPU seconds": seconds, "cost": float(middle), "lower quartile": float(low), "upper quartile": float(high)}


def runner(config_name: str, flags: Iterable[str]) -> Callable[[], None]:
    """A function that takes STEPS training steps."""
    overrides = [flag.removeprefix("--config.").partition("=")[::2] for flag in flags]
    config = resolve.resolve(resolve.override(config_file.load(f"configs/{config_name}.py"), overrides))
    examples = build_data.dataset(config, "train")
    model = runs.Model.build(config, runs.DataDescription.of(config, examples))
    program = runs.Program.build(model, examples, build_training.mesh(config, jax.devices()[:1]))
    batch, states = next(build_data.batches(config, examples, 0, program.mesh)), [program.init_state()]

    def run() -> None:
        for _ in range(STEPS):
            states[0], _ = program.step(states[0], batch)
        jax.block_until_ready(states[0])

    return run


if __name__ == "__main__":
    main()
