"""Inversion of digits to noise and their reconstruction: python -m experiments.inversion

Inverts 64 held-out digits with 50 evaluations of the network of configs/digits.py, trained first if --runs does not
have it, and reconstructs them with 50 evaluations. Compares deterministic samplers run on increasing times with exact
DDIM inversion by fixed-point iteration (samplers.invert), whose evaluations are counted. Writes results.json,
reconstructions.png and interpolations.png.
"""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from diffax import data, devices, samplers
from diffax.reporting import images
from diffax.typing import Denoiser, Schedule
from experiments import common

HERE = pathlib.Path(__file__).parent
NUM_DIGITS, EVALUATIONS, TOP = 64, 50, 0.98
METHODS: dict[str, Callable] = {
    "DDIM": samplers.ddim,
    "Heun in sigma, 25 steps": samplers.heun,
    "Adams 2 in eps": lambda schedule, times: samplers.adams(schedule, times, order=2, predict="eps"),
    "Adams 3 in eps": lambda schedule, times: samplers.adams(schedule, times, order=3, predict="eps"),
    "Adams 2 in x_0": lambda schedule, times: samplers.adams(schedule, times, order=2),
    "iPNDM 2": lambda schedule, times: samplers.ipndm(schedule, times, order=2),
    "LMS 2": lambda schedule, times: samplers.lms(schedule, times, order=2),
    "UniPC 2 in eps": lambda schedule, times: samplers.unipc(schedule, times, order=2, predict="eps"),
}
SWEEPS = (1, 2, 4, 8)


def main() -> None:
    args = common.parse_args(__doc__)
    devices.enable_compilation_cache()
    # Epsilon scaling corrects sampling with few steps. It is off here because inversion follows the probability flow.
    trained = common.trained_model("digits", args.runs, epsilon_scale=1.0)
    schedule, denoiser = trained.schedule, trained.denoiser()
    run = jax.jit(lambda table, x: samplers.run(None, denoiser, table, x))
    held_out = data.digits.load("test")
    digits = jnp.asarray(held_out.to_network_range(held_out.examples[:NUM_DIGITS]))

    results, pictures = {}, {}
    for name, method in METHODS.items():
        times = rising(EVALUATIONS // 2 if "Heun" in name else EVALUATIONS)
        up, down = method(schedule, times), method(schedule, times[::-1])
        latent = run(up, digits)
        pictures[name] = run(down, latent)
        results[name] = {"evaluations": [up.num_evaluations, down.num_evaluations]}
    times = rising(EVALUATIONS)
    for sweeps in SWEEPS:
        name = f"refined, {sweeps} sweeps"
        latent = samplers.invert(denoiser, schedule, digits, times, sweeps=sweeps).x
        pictures[name] = run(samplers.ddim(schedule, times[::-1]), latent)
        results[name] = {"evaluations": [1 + sweeps * EVALUATIONS, EVALUATIONS]}
    print(f"{'':<26}{'evaluations':>14}{'mean absolute error / range':>30}")
    for name, result in results.items():
        # The range of the pixels is 2, from -1 to 1.
        result["mean absolute error"] = float(jnp.abs(pictures[name] - digits).mean()) / 2
        print(f"{name:<26}{' + '.join(map(str, result['evaluations'])):>14}{result['mean absolute error']:>30.2e}")
    if args.no_write:
        return
    shown = [digits, pictures["DDIM"], pictures["Adams 2 in eps"], pictures[f"refined, {SWEEPS[-1]} sweeps"]]
    rows = np.concatenate([np.asarray(part[:10]) for part in shown])
    images.save_png(HERE / "reconstructions.png", images.grid(rows, 10), scale=4)
    between = images.grid(interpolations(schedule, times, denoiser, digits), 9)
    images.save_png(HERE / "interpolations.png", between, scale=4)
    common.write(HERE / "results.json", results)


def rising(steps: int) -> np.ndarray:
    """Increasing times from near the data to TOP, evenly spaced in their square root.

    The data are used as the state at the first time, where sigma = 0.015. Starting from sigma = 0 the fixed-point
    iteration of the first step does not converge in the directions in which the data do not vary, since sigma must not
    grow by a large factor in one step.
    """
    return TOP * np.linspace(0.1, 1.0, steps + 1) ** 2


def interpolations(
    schedule: Schedule, times: np.ndarray, denoiser: Denoiser, digits: jax.Array, pairs: int = 6
) -> np.ndarray:
    """Spherical interpolation between the latents of pairs of digits, nine images a pair: (pairs * 9, *dims)."""
    latent = samplers.invert(denoiser, schedule, digits[: 2 * pairs], times, sweeps=SWEEPS[-1]).x
    ends = (jnp.repeat(latent[start::2], 9, axis=0) for start in (0, 1))
    interpolated = samplers.slerp(*ends, jnp.tile(jnp.linspace(0, 1, 9), pairs))
    return np.asarray(samplers.run(None, denoiser, samplers.ddim(schedule, times[::-1]), interpolated))


if __name__ == "__main__":
    devices.configure()
    main()
