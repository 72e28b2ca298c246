"""Digits to noise and back: python -m experiments.inversion

Inverts 64 held-out digits with 50 evaluations of the `digits_ddpm` network, which is trained where `--runs` does not
have it yet, and reconstructs them with 50: by every kind of deterministic table on increasing times, and by refined
inversion, whose evaluations are counted. Writes results.json, reconstructions.png and interpolations.png.
"""

import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from diffax import build, devices, samplers
from diffax.reporting import images
from experiments import common

HERE = pathlib.Path(__file__).parent
NUM_DIGITS, EVALUATIONS, TOP = 64, 50, 0.98
METHODS: dict[str, Callable] = {
    "DDIM": samplers.ddim,
    "Heun in sigma, 25 steps": samplers.heun,
    "Adams 2 in eps": lambda schedule, times: samplers.adams(schedule, times, order=2, form="eps"),
    "Adams 3 in eps": lambda schedule, times: samplers.adams(schedule, times, order=3, form="eps"),
    "Adams 2 in x_0": lambda schedule, times: samplers.adams(schedule, times, order=2),
    "iPNDM 2": lambda schedule, times: samplers.ipndm(schedule, times, order=2),
    "LMS 2": lambda schedule, times: samplers.lms(schedule, times, order=2),
    "UniPC 2 in eps": lambda schedule, times: samplers.unipc(schedule, times, order=2, form="eps"),
}
SWEEPS = (1, 2, 4, 8)


def main() -> None:
    arguments = common.arguments(__doc__)
    devices.enable_compilation_cache()
    # epsilon_scale is for few steps of sampling, not for following the flow.
    model, params = common.model("digits_ddpm", arguments.runs, epsilon_scale=1.0)
    config, denoiser = model.config, model.denoiser(params)
    run = jax.jit(lambda table, x: samplers.run(table, denoiser, x))
    held_out = build.dataset(config, "test")
    digits = jnp.asarray(held_out.to_network_range(held_out.examples[:NUM_DIGITS]))
    schedule = build.schedule(config)

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
        latent = samplers.invert(schedule, times, denoiser, digits, sweeps=sweeps).x
        pictures[name] = run(samplers.ddim(schedule, times[::-1]), latent)
        results[name] = {"evaluations": [1 + sweeps * EVALUATIONS, EVALUATIONS]}
    print(f"{'':<26}{'evaluations':>14}{'mean absolute error / range':>30}")
    for name, result in results.items():
        # The range is 2: from -1 to 1.
        result["mean absolute error"] = float(jnp.abs(pictures[name] - digits).mean()) / 2
        print(f"{name:<26}{' + '.join(map(str, result['evaluations'])):>14}{result['mean absolute error']:>30.2e}")
    if arguments.no_write:
        return
    shown = [digits, pictures["DDIM"], pictures["Adams 2 in eps"], pictures[f"refined, {SWEEPS[-1]} sweeps"]]
    rows = np.concatenate([np.asarray(part[:10]) for part in shown])
    images.save_png(HERE / "reconstructions.png", images.grid(rows, 10), scale=4)
    between = images.grid(interpolations(schedule, times, denoiser, digits), 9)
    images.save_png(HERE / "interpolations.png", between, scale=4)
    common.write(HERE / "results.json", results)


def rising(steps: int) -> np.ndarray:
    """Times from near the data to TOP, evenly spaced in their square root.

    Data are taken for the state at the first, where sigma = 0.015: from sigma = 0 the fixed point of a refined step
    does not converge in the directions in which data do not vary, and sigma may grow by no large factor.
    """
    return TOP * np.linspace(0.1, 1.0, steps + 1) ** 2


def interpolations(schedule, times: np.ndarray, denoiser, digits: jax.Array, pairs: int = 6) -> np.ndarray:
    """Rows from one digit to another along the great circle between their latents, (pairs * 9, *dims)."""
    latent = samplers.invert(schedule, times, denoiser, digits[: 2 * pairs], sweeps=SWEEPS[-1]).x
    ends = (jnp.repeat(latent[start::2], 9, axis=0) for start in (0, 1))
    shares = jnp.tile(jnp.linspace(0, 1, 9), pairs)
    mixed = samplers.slerp(*ends, shares)
    return np.asarray(samplers.run(samplers.ddim(schedule, times[::-1]), denoiser, mixed))


if __name__ == "__main__":
    devices.configure()
    main()
