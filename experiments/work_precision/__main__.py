"""Work-precision diagrams of all samplers, error against NFE: python -m experiments.work_precision

On an exact Gaussian mixture and with the network of configs/digits.py, steps uniform in log-SNR from t = 0.98 to 0.02.
Deterministic samplers are compared with the probability flow: the mixture's solved to 1e-11, the network's with 2,000
steps of third order. Stochastic samplers follow one Brownian path per sample and are compared with 2,000 steps of
SDE-DPM-Solver++ 2M on the same path. Writes results.json, mixture.png and digits.png.
"""

import pathlib
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffax import denoisers, devices, samplers, schedules
from diffax.reporting import plots
from diffax.typing import Denoiser, Schedule
from experiments import common

HERE = pathlib.Path(__file__).parent
START, END = 0.98, 0.02
EVALUATIONS = (6, 10, 20, 40, 80, 160)
REFERENCE_STEPS = 2000
NUM_POINTS, NUM_DIGITS = 256, 64

# Name of a sampler to (its table as a function of schedule and times, evaluations per step).
DETERMINISTIC: dict[str, tuple[Callable, int]] = {
    "DDIM": (samplers.ddim, 1),
    "Euler in t": (partial(samplers.euler, variable="t"), 1),
    "Euler in sigma": (partial(samplers.euler, variable="sigma"), 1),
    "Heun in sigma (EDM)": (partial(samplers.heun, variable="sigma"), 2),
    "Heun in log-SNR": (partial(samplers.heun, variable="log_snr"), 2),
    "midpoint in log-SNR": (partial(samplers.midpoint, variable="log_snr"), 2),
    "Adams 2 in x_0": (partial(samplers.adams, order=2), 1),
    "Adams 3 in x_0": (partial(samplers.adams, order=3), 1),
    "Adams 3 in eps (DEIS)": (partial(samplers.adams, order=3, predict="eps"), 1),
    "DPM-Solver 2S in eps": (partial(samplers.dpm_solver, order=2, predict="eps"), 2),
    "DPM-Solver 3S in eps": (partial(samplers.dpm_solver, order=3, predict="eps"), 3),
    "DPM-Solver++ 2M": (samplers.dpm_solver_multistep, 1),
    "DPM-Solver++ 3M published": (partial(samplers.dpm_solver_multistep, order=3, weights="published"), 1),
    "UniPC 2": (partial(samplers.unipc, order=2), 1),
    "UniPC 3": (partial(samplers.unipc, order=3), 1),
    "LMS 4": (samplers.lms, 1),
    "iPNDM": (samplers.ipndm, 1),
    "PNDM": (samplers.pndm, 1),
}
STOCHASTIC: dict[str, Callable] = {
    "DDPM": samplers.ddpm,
    "Euler ancestral": partial(samplers.ddim, eta=1.0),
    "Euler-Maruyama": samplers.euler_maruyama,
    "SDE-DPM-Solver++ 2M": partial(samplers.dpm_solver_multistep, tau=1.0),
    "SA-Solver": samplers.sa_solver,
}


def grid(schedule: Schedule, num_steps: int) -> np.ndarray:
    return samplers.grids.log_snr(schedule, num_steps, start=START, end=END)


def measure(schedule: Schedule, denoiser: Denoiser, x: jax.Array, reference: Callable) -> dict[str, dict]:
    """Maps the name of every sampler to its evaluations and root mean square errors, from x at START to END.

    reference: maps a function that runs a table from x to the exact result at END.
    """
    called = jax.jit(lambda x, t: denoiser(x, t)[:2])

    def halves(x: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.asarray(half, np.float64) for half in called(jnp.asarray(x, dtype), jnp.asarray(t, dtype)))

    def end(table: samplers.SamplerTable, noise: np.ndarray | None = None) -> np.ndarray:
        return samplers.reference_run(halves, table, np.asarray(x, float), noise)[-1]

    dtype = x.dtype
    exact = reference(end)
    results = {}
    for name, (method, cost) in DETERMINISTIC.items():
        tables = [method(schedule, grid(schedule, max(n // cost, 1))) for n in EVALUATIONS if n // cost >= 2]
        errors = [float(np.sqrt(np.mean((end(table) - exact) ** 2))) for table in tables]
        results[name] = {"evaluations": [table.num_evaluations for table in tables], "errors": errors}
    keys = jax.random.split(jax.random.key(7), len(x))
    driven = end(*on_paths(STOCHASTIC["SDE-DPM-Solver++ 2M"], schedule, REFERENCE_STEPS, keys, x))
    for name, method in STOCHASTIC.items():
        errors = [end(*on_paths(method, schedule, n, keys, x)) - driven for n in EVALUATIONS]
        results[name] = {
            "evaluations": list(EVALUATIONS),
            "errors": [float(np.sqrt(np.mean(error**2))) for error in errors],
        }
    return results


def on_paths(
    method: Callable, schedule: Schedule, num_steps: int, keys: jax.Array, x: jax.Array
) -> tuple[samplers.SamplerTable, np.ndarray]:
    """The table of a sampler and its noise on the Brownian paths of the keys, (rows, *x.shape)."""
    times = grid(schedule, num_steps)
    noise = samplers.brownian(schedule, times)
    rows = jax.jit(lambda rows: jax.lax.map(lambda row: noise(keys, row, x), rows))(jnp.arange(num_steps))
    return method(schedule, times), np.asarray(rows, np.float64)


def mixture() -> dict[str, dict]:
    """The errors on an exact Gaussian mixture, in float64."""
    schedule = schedules.Cosine()
    with jax.enable_x64(True):
        oracle = denoisers.gaussian_mixture(
            schedule, [0.3, 0.3, 0.4], [[1.0, 0.5], [-1.0, 0.2], [0.3, -1.0]], [0.1, 0.2, 0.3]
        )
        x = jnp.asarray(np.random.default_rng(0).normal(size=(NUM_POINTS, 2)) * float(schedule.sigma(START)))

        def exact(_: Callable) -> np.ndarray:
            tight = {"rtol": 1e-11, "atol": 1e-11, "max_steps": 100_000}
            return np.asarray(samplers.probability_flow(oracle, schedule, x, start=START, end=END, **tight).x)

        return measure(schedule, oracle, x, exact)


def digits(runs_dir: pathlib.Path) -> dict[str, dict]:
    """The errors with the trained network, in float32."""
    trained = common.trained_model("digits", runs_dir, epsilon_scale=1.0)
    schedule = trained.schedule
    noise = np.random.default_rng(0).normal(size=(NUM_DIGITS, *trained.sample_shape))
    x = jnp.asarray(noise * float(schedule.sigma(START)), jnp.float32)
    fine = samplers.adams(schedule, grid(schedule, REFERENCE_STEPS), order=3, start="singlestep")
    return measure(schedule, trained.denoiser(), x, lambda end: end(fine))


def main() -> None:
    args = common.parse_args(__doc__)
    devices.enable_compilation_cache()
    begun = time.monotonic()
    results = {"mixture": mixture(), "digits": digits(args.runs)}
    for name, errors in results.items():
        print(f"\n{name:<28}" + "".join(f"{n:>10}" for n in EVALUATIONS) + "   evaluations, or a few less")
        for sampler, found in errors.items():
            missing = len(EVALUATIONS) - len(found["errors"])
            print(f"{sampler:<28}" + " " * 10 * missing + "".join(f"{error:>10.2e}" for error in found["errors"]))
    if args.no_write:
        return
    for name, errors in results.items():
        curves = {sampler: (found["evaluations"], found["errors"]) for sampler, found in errors.items()}
        plots.lines(
            HERE / f"{name}.png",
            {f"root mean square error, {name}": curves},
            xlabel="evaluations",
            log="xy",
            dashed=STOCHASTIC,
        )
    common.write(HERE / "results.json", results | {"seconds": round(time.monotonic() - begun, 1)})


if __name__ == "__main__":
    devices.configure()
    main()
