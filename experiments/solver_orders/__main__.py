"""Convergence orders of all samplers, measured: python -m experiments.solver_orders

Three measurements, in float64, with 80, 160 and 320 steps uniform in log-SNR from t = 0.98 to 0.02 (four times as many
for order 4). Deterministic samplers: the error against the probability flow of an exact Gaussian mixture, solved to
1e-11. Stochastic samplers, weak: mean and variance of the result on Gaussian data, in closed form. Stochastic samplers,
strong: the distance between results on the same Brownian paths. Prints the tables and writes results.json.
"""

import itertools
import pathlib
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from diffax import denoisers, devices, samplers, schedules
from diffax.typing import Schedule
from experiments import common

HERE = pathlib.Path(__file__).parent
START, END = 0.98, 0.02
SCHEDULES = {
    "VP": schedules.Cosine(),
    "VE": schedules.VarianceExploding(0.02, 20.0),
    "flow": schedules.Flow(),
}
STEPS = (80, 160, 320)
MEAN, VARIANCE = np.array([0.7, -0.3]), np.array([0.04, 0.8])


def deterministic() -> dict[str, tuple[Callable, int]]:
    """Maps the name of a sampler to (its table as a function of schedule and times, the order it claims)."""
    claims: dict[str, tuple[Callable, int]] = {"DDIM": (samplers.ddim, 1)}
    for variable in ("t", "sigma", "log_snr"):
        claims[f"Euler in {variable}"] = (partial(samplers.euler, variable=variable), 1)
        claims[f"Heun in {variable}"] = (partial(samplers.heun, variable=variable), 2)
        claims[f"midpoint in {variable}"] = (partial(samplers.midpoint, variable=variable), 2)
    for predict in ("x_0", "eps"):
        for order in (1, 2, 3, 4):
            claims[f"Adams {order} in {predict}"] = (
                partial(samplers.adams, order=order, predict=predict, start="singlestep"),
                order,
            )
            ramp = partial(samplers.adams, order=order, predict=predict)
            claims[f"Adams {order} in {predict}, ramp"] = (ramp, min(order, 2))
        for order in (1, 2, 3):
            singlestep = partial(samplers.dpm_solver, order=order, predict=predict)
            claims[f"DPM-Solver {order}S in {predict}"] = (singlestep, order)
            for variant in ("bh1", "bh2"):
                claims[f"UniPC {order} {variant} in {predict}"] = (
                    partial(samplers.unipc, order=order, variant=variant, predict=predict, lower_order_final=False),
                    min(order + 1, 3),
                )
    for order, weights in ((2, "midpoint"), (2, "exact"), (3, "exact"), (3, "published")):
        claims[f"DPM-Solver++ {order}M {weights}"] = (
            partial(samplers.dpm_solver_multistep, order=order, weights=weights),
            2,
        )
    for order in (2, 3):
        claims[f"SA-Solver ({order}, {order}), tau = 0"] = (
            partial(samplers.sa_solver, tau=0.0, predictor_order=order, corrector_order=order, lower_order_final=False),
            2,
        )
    for order in (1, 2, 3, 4):
        claims[f"LMS {order}"] = (partial(samplers.lms, order=order), min(order, 2))
    return claims | {"iPNDM": (samplers.ipndm, 2), "PNDM": (samplers.pndm, 2), "EDM, no churn": (samplers.edm, 2)}


def stochastic() -> dict[str, Callable]:
    """Maps the name of a sampler to its table as a function of schedule and times."""
    return {
        "DDPM": samplers.ddpm,
        "DDIM, eta = 1/2": partial(samplers.ddim, eta=0.5),
        "Euler ancestral": partial(samplers.ddim, eta=1.0),
        "Euler-Maruyama": samplers.euler_maruyama,
        "SDE-DPM-Solver++ 2M midpoint": partial(samplers.dpm_solver_multistep, tau=1.0),
        "SDE-DPM-Solver++ 2M exact": partial(samplers.dpm_solver_multistep, tau=1.0, weights="exact"),
        "SDE-DPM-Solver++ 3M": partial(samplers.dpm_solver_multistep, tau=1.0, order=3),
        "SA-Solver (2, 2)": samplers.sa_solver,
        "SA-Solver (3, 3)": partial(samplers.sa_solver, predictor_order=3, corrector_order=3),
        "EDM, churn 20": partial(samplers.edm, churn=20.0, churn_range=(0.05, 5.0)),
    }


def on_a_path() -> dict[str, Callable]:
    """The stochastic samplers whose noise is that of a Brownian motion in the SNR."""
    return {name: method for name, method in stochastic().items() if not name.startswith(("EDM", "DDIM"))}


def grid(schedule: Schedule, steps: int) -> np.ndarray:
    return samplers.grids.log_snr(schedule, steps, start=START, end=END)


def slopes(errors: list[float]) -> list[float]:
    """The convergence orders between successive halvings of the step."""
    return [float(np.log2(first / second)) for first, second in itertools.pairwise(errors)]


def measure_deterministic(claims: dict[str, tuple[Callable, int]]) -> dict:
    """For every sampler and schedule the errors at STEPS and the two orders between them."""
    results: dict = {name: {"claimed": order} for name, (_, order) in claims.items()}
    for schedule_name, schedule in SCHEDULES.items():
        mixture = denoisers.gaussian_mixture(
            schedule, [0.3, 0.3, 0.4], [[1.0, 0.5], [-1.0, 0.2], [0.3, -1.0]], [0.3, 0.4, 0.5]
        )
        called = jax.jit(lambda x, t, mixture=mixture: mixture(x, t)[:2])

        def halves(x, t, called=called):
            return tuple(np.asarray(half) for half in called(x, t))

        x = np.random.default_rng(0).normal(size=(8, 2)) * float(schedule.sigma(START))
        exact = samplers.probability_flow(
            mixture, schedule, jnp.asarray(x), start=START, end=END, rtol=1e-11, atol=1e-11, max_steps=100_000
        ).x
        for name, (method, order) in claims.items():
            tables = [method(schedule, grid(schedule, (4 if order == 4 else 1) * steps)) for steps in STEPS]
            errors = [float(np.abs(samplers.reference_run(halves, t, x, None)[-1] - exact).max()) for t in tables]
            results[name][schedule_name] = {"errors": errors, "orders": slopes(errors)}
    return results


def law_errors(schedule: Schedule, method: Callable) -> list[float]:
    """The largest error of mean and variance on Gaussian data at STEPS, in closed form."""

    def law(t: float) -> samplers.GaussianLaw:
        alpha, sigma = float(schedule.alpha(np.float64(t))), float(schedule.sigma(np.float64(t)))
        return samplers.GaussianLaw(alpha * MEAN, alpha**2 * VARIANCE + sigma**2)

    errors = []
    for steps in STEPS:
        table = method(schedule, grid(schedule, steps))
        result = samplers.gaussian_law(table, schedule, MEAN, VARIANCE, start=law(START))
        errors.append(max(float(np.abs(a - b).max()) for a, b in zip(result, law(END), strict=True)))
    return errors


def strong_order(schedule: Schedule, method: Callable, num: int = 512) -> float:
    """The strong order: from root mean square distances between 20 and 80, and 80 and 320 steps on the same paths."""
    mixture = denoisers.gaussian_mixture(schedule, [0.4, 0.6], [[1.0, 0.5], [-0.6, 0.2]], [0.3, 0.5])
    keys = jax.random.split(jax.random.key(1), num)
    x = jax.random.normal(jax.random.key(0), (num, 2)) * float(schedule.sigma(START))
    ends = []
    for steps in (20, 80, 320):
        times = grid(schedule, steps)
        table, noise = method(schedule, times), samplers.brownian(schedule, times)
        ends.append(jax.jit(lambda x, table=table, noise=noise: samplers.run(keys, mixture, table, x, noise=noise))(x))
    first, second = (float(jnp.sqrt(((a - b) ** 2).sum(-1).mean())) for a, b in itertools.pairwise(ends))
    return float(np.log2(first / second) / 2)


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    begun = time.monotonic()
    jax.config.update("jax_enable_x64", True)
    flows = measure_deterministic(deterministic())
    print(f"{'deterministic':<28}{'claimed':>8}" + "".join(f"{name:>16}" for name in SCHEDULES))
    for name, found in flows.items():
        cells = ["{:.2f} {:.2f}".format(*found[schedule]["orders"]) for schedule in SCHEDULES]
        print(f"{name:<28}{found['claimed']:>8}" + "".join(f"{cell:>16}" for cell in cells))
    laws = {
        name: {label: law_errors(schedule, method) for label, schedule in SCHEDULES.items()}
        for name, method in stochastic().items()
    }
    strong = {name: strong_order(SCHEDULES["VP"], method) for name, method in on_a_path().items()}
    print(f"\n{'stochastic':<28}{'strong':>8}" + "".join(f"{name + ' law':>16}" for name in SCHEDULES))
    for name, errors in laws.items():
        cells = ["{:.2f} {:.2f}".format(*slopes(errors[schedule])) for schedule in SCHEDULES]
        path = f"{strong[name]:.2f}" if name in strong else ""
        print(f"{name:<28}{path:>8}" + "".join(f"{cell:>16}" for cell in cells))
    seconds = round(time.monotonic() - begun, 1)
    print(f"\n{seconds} s")
    if not args.no_write:
        results = {"steps": STEPS, "deterministic": flows, "errors of the law": laws, "strong order (VP)": strong}
        common.write(HERE / "results.json", results | {"seconds": seconds})


if __name__ == "__main__":
    devices.configure()
    main()
