"""DDIM against DDPM at different numbers of steps: python -m experiments.ddim_or_ddpm

Draws 2,000 digits of the network of configs/digits.py with each sampler and number of steps, from the same noise and
without epsilon scaling, and compares them with the 1,797 real digits: in pixels, and in the features of a classifier of
the digits (Frechet distance, kernel distance, precision and recall). Writes results.json and quality.png.
"""

import pathlib
import time
from typing import Any

from diffax import devices
from diffax.reporting import formats, plots
from experiments import common, digit_quality

HERE = pathlib.Path(__file__).parent
SAMPLERS: dict[str, dict[str, Any]] = {
    "DDIM": {"sampler": "ddim", "eta": 0.0},
    "DDPM, small variance": {"sampler": "ddpm", "variance": "small"},
    "DDPM, large variance": {"sampler": "ddpm", "variance": "large"},
}
STEPS = (5, 10, 20, 50, 100, 200)


def main() -> None:
    args = common.parse_args(__doc__)
    devices.enable_compilation_cache()
    begun = time.monotonic()
    trained = common.trained_model("digits", args.runs, epsilon_scale=1.0)
    judge, results = digit_quality.Judge(), dict[str, Any]()
    for name, options in SAMPLERS.items():
        results[name] = {}
        for num_steps in STEPS:
            found = judge.measure(trained.with_sampler(num_steps=num_steps, **options))
            results[name][str(num_steps)] = {metric: list(estimate) for metric, estimate in found.items()}
            shown = ", ".join(f"{metric} {formats.with_error(*estimate)}" for metric, estimate in found.items())
            print(f"{name}, {num_steps} steps: {shown}", flush=True)
    if not args.no_write:
        plots.lines(HERE / "quality.png", digit_quality.panels(results), xlabel="steps", log="x")
        common.write(HERE / "results.json", results | {"seconds": round(time.monotonic() - begun, 1)})


if __name__ == "__main__":
    devices.configure()
    main()
