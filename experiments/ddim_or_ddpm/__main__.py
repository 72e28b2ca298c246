"""DDIM against DDPM at different numbers of steps: python -m experiments.ddim_or_ddpm

Draws 2,000 digits of the network of configs/digits.py with each sampler and number of steps, from the same noise and
without epsilon scaling, and measures their pixel Frechet distance to the 1,797 real digits. Writes results.json and
frechet.png.
"""

import pathlib
import time

from diffax import devices
from diffax.evaluation import frechet
from diffax.reporting import plots
from experiments import common

HERE = pathlib.Path(__file__).parent
NUM_DIGITS, BATCH = 2000, 500
SAMPLERS = {
    "DDIM": {"sampler": "ddim", "eta": 0.0},
    "DDPM, small variance": {"sampler": "ddpm", "variance": "small"},
    "DDPM, large variance": {"sampler": "ddpm", "variance": "large"},
}
STEPS = (5, 10, 20, 35, 50, 100, 200)


def main() -> None:
    args = common.parse_args(__doc__)
    devices.enable_compilation_cache()
    begun, real = time.monotonic(), common.real_digits()
    trained = common.trained_model("digits", args.runs, epsilon_scale=1.0)
    results: dict[str, dict] = {}
    print(f"{'steps':<24}" + "".join(f"{n:>10}" for n in STEPS))
    for name, options in SAMPLERS.items():
        distances, spreads = [], []
        for num_steps in STEPS:
            drawn = trained.with_sampler(num_steps=num_steps, **options).draw(NUM_DIGITS, batch_size=BATCH)
            distances.append(frechet.distance_between(drawn, real))
            # An estimate of the sampling noise of the distance. The halves have larger distances, both alike.
            halves = [frechet.distance_between(half, real) for half in (drawn[::2], drawn[1::2])]
            spreads.append(abs(halves[0] - halves[1]) / 2)
        results[name] = {"steps": STEPS, "distances": distances, "half the difference of its halves": spreads}
        print(f"{name:<24}" + "".join(f"{value:>10.4f}" for value in distances), flush=True)
    for name in list(SAMPLERS)[1:]:
        results[name]["DDIM is better at"] = better_at(results["DDIM"]["distances"], results[name]["distances"])
        print(f"DDIM is better than {name} with {results[name]['DDIM is better at'] or 'no number of'} steps")
    if not args.no_write:
        lines = {name: (found["steps"], found["distances"]) for name, found in results.items()}
        plots.lines(HERE / "frechet.png", {"pixel Frechet distance": lines}, xlabel="steps", log="xy")
        common.write(HERE / "results.json", results | {"seconds": round(time.monotonic() - begun, 1)})


def better_at(first: list[float], second: list[float]) -> list[int]:
    """The numbers of steps at which `first` has the smaller distance."""
    return [steps for steps, one, other in zip(STEPS, first, second, strict=True) if one < other]


if __name__ == "__main__":
    devices.configure()
    main()
