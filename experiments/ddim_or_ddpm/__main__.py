"""Below how many steps does DDIM beat DDPM? python -m experiments.ddim_or_ddpm

2,000 digits of the `digits_ddpm` network by either sampler for each number of steps, without epsilon scaling, from the
same noise; their pixel Frechet distance to the 1,797 real ones. Writes results.json and frechet.png.
"""

import pathlib
import time

import numpy as np

from diffax import devices
from diffax.evaluation import frechet
from diffax.jobs.model import Sampler
from diffax.reporting import plots
from experiments import common

HERE = pathlib.Path(__file__).parent
NUM_DIGITS, BATCH = 2000, 500
SAMPLERS = {
    "DDIM": {"name": "ddim", "eta": 0.0},
    "DDPM, small variance": {"name": "ddpm", "variance": "small"},
    "DDPM, large variance": {"name": "ddpm", "variance": "large"},
}
STEPS = (5, 10, 20, 35, 50, 100, 200)


def main() -> None:
    arguments = common.arguments(__doc__)
    devices.enable_compilation_cache()
    begun, real = time.monotonic(), common.real_digits()
    results: dict[str, dict] = {}
    print(f"{'steps':<24}" + "".join(f"{n:>10}" for n in STEPS))
    for name, settings in SAMPLERS.items():
        distances, last = [], []
        for num_steps in STEPS:
            model, params = common.model(
                "digits_ddpm", arguments.runs, epsilon_scale=1.0, num_steps=num_steps, **settings
            )
            drawn = Sampler(model, BATCH).draw(params, 0, NUM_DIGITS, None).reshape(NUM_DIGITS, -1).astype(np.float64)
            distances.append(frechet.distance_between(drawn, real))
            # What the noise of so many samples does to a distance: halves of the draw, whose own are larger alike.
            halves = [frechet.distance_between(half, real) for half in (drawn[::2], drawn[1::2])]
            last.append(abs(halves[0] - halves[1]) / 2)
        results[name] = {"steps": STEPS, "distances": distances, "half the difference of its halves": last}
        print(f"{name:<24}" + "".join(f"{value:>10.4f}" for value in distances), flush=True)
    for name in list(SAMPLERS)[1:]:
        results[name]["DDIM is better at"] = better_at(results["DDIM"]["distances"], results[name]["distances"])
        print(f"DDIM is better than {name} with {results[name]['DDIM is better at'] or 'no number of'} steps")
    if not arguments.no_write:
        lines = {name: (found["steps"], found["distances"]) for name, found in results.items()}
        plots.lines(HERE / "frechet.png", {"pixel Frechet distance": lines}, xlabel="steps", log="xy")
        common.write(HERE / "results.json", results | {"seconds": round(time.monotonic() - begun, 1)})


def better_at(first: list[float], second: list[float]) -> list[int]:
    """The numbers of steps with which `first` is the smaller distance."""
    return [steps for steps, mine, other in zip(STEPS, first, second, strict=True) if mine < other]


if __name__ == "__main__":
    devices.configure()
    main()
