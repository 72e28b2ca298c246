"""The cost of a training step of each loss of flow maps: python -m experiments.benchmarks.flow_maps

Takes training steps of the network of configs/digits_flow.py, 32 images each, under every loss that trains a flow map
and under the denoising loss, in turns, and compares CPU seconds within each round: other work on the machine hardly
changes their ratios. Every loss has its default options, without and with guidance where it has some. Writes
flow_maps.json.
"""

import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np

from configs import digits_flow
from diffax import build_data, build_training, choices, losses, resolve, runs
from diffax.conditions import SPAN
from experiments import common

HERE = pathlib.Path(__file__).parent
STEPS, ROUNDS = 4, 11
PLAIN = "denoising"
# Guidance folded into training, by loss.
GUIDED = {"mean_flow": {"loss.omega": "1.5", "loss.kappa": "0.5"}, "improved_mean_flow": {"loss.max_scale": "8"}}


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    runners = {name: runner(overrides) for name, overrides in cases().items()}
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
        common.write(HERE / "flow_maps.json", {"steps": STEPS, "rounds": ROUNDS, "losses": results})


def cases() -> dict[str, dict[str, str]]:
    """Changes of the configuration, by the name of the case; the denoising loss first."""
    slot = build_training.LOSS_SLOT
    names = [name for name in slot.table if SPAN in losses.conditions_of(choices.lookup("loss", name, slot))]
    plain = {name: {"loss": name} for name in [PLAIN, *names]}
    guided = {f"{name}, guided": plain[name] | GUIDED[name] for name in names if name in GUIDED}
    return plain | guided


def summary(values: np.ndarray, plain: np.ndarray) -> dict[str, float]:
    """CPU seconds of a step, and its cost in steps of the denoising loss; median and quartiles over rounds."""
    low, middle, high = np.quantile(values / plain, [0.25, 0.5, 0.75])
    seconds = float(np.median(values))
    return {"CPU seconds": seconds, "cost": float(middle), "lower quartile": float(low), "upper quartile": float(high)}


def runner(overrides: dict[str, str]) -> Callable[[], None]:
    """A function that takes STEPS training steps; class-conditional where there is guidance."""
    base = {"loss.stable_targets": "False"} | overrides
    if len(overrides) > 1:
        base |= {"conditions.label.drop": "0.1"}
    config = resolve.resolve(resolve.override(digits_flow.get_config(), base.items()))
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
