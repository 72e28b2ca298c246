"""Log-likelihoods of an exact denoiser against its true density: python -m experiments.likelihood

A mixture of three Gaussians in the plane, whose denoiser and density are known in closed form, in float64. The
probability-flow ODE under five noise schedules, and the variational bound with 10 to 10,000 steps. Writes
convergence.png and results.json.
"""

import pathlib
import time
from typing import Any

import jax
import matplotlib

from diffax import denoisers, devices, likelihood, schedules
from diffax.likelihood import divergence, variational_bound
from experiments import common

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = pathlib.Path(__file__).parent
SCHEDULES = {
    "cosine": schedules.Cosine(),
    "linear_beta": schedules.LinearBeta(),
    "variance_exploding": schedules.VarianceExploding(0.01, 50.0),
    "sub_vp": schedules.SubVP(),
    "flow": schedules.Flow(),
}
MIXTURE = ([0.5, 0.2, 0.3], [[1.0, -0.5], [-1.5, 0.5], [0.0, 2.0]], [0.4, 0.1, 0.25])
TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6)
STEPS = (10, 30, 100, 300, 1000, 3000, 10_000)
NUM_EXAMPLES, NUM_OF_BOUND, NUM_PROBES = 1000, 10_000, (1, 4, 16)


def oracle_and_points(schedule: Any, num: int = NUM_EXAMPLES) -> tuple[denoisers.GaussianMixture, jax.Array]:
    """The exact denoiser, and points of the process at t = 0."""
    oracle = denoisers.gaussian_mixture(schedule, *map(np.array, MIXTURE))
    return oracle, oracle.sample(jax.random.split(jax.random.key(0), num), 0.0)


def by_ode() -> dict[str, Any]:
    """Errors in nats per dimension with the oracle's own prior, and what a Gaussian prior adds, by schedule."""

    @jax.jit
    def solve(oracle: Any, x: jax.Array, tolerance: float) -> tuple[Any, Any, jax.Array]:
        options = {"rtol": tolerance, "atol": tolerance}
        own = likelihood.log_density(oracle, oracle.schedule, x, prior=lambda x: oracle.log_density(x, 1.0), **options)
        gaussian = likelihood.log_density(oracle, oracle.schedule, x, **options)
        return own, gaussian, oracle.log_density(x, 0.0)

    results: dict[str, Any] = {}
    for name, schedule in SCHEDULES.items():
        oracle, x = oracle_and_points(schedule)
        results[name] = {}
        for tolerance in TOLERANCES:
            own, gaussian, truth = solve(oracle, x, tolerance)
            results[name][f"{tolerance:g}"] = {
                "largest_error": float(np.abs(own.nats - truth).max() / 2),
                "mean_error": float((own.nats - truth).mean() / 2),
                "gaussian_prior_adds": float((gaussian.nats - own.nats).mean() / 2),
                "num_evaluations": float(own.num_evaluations.mean()),
            }
            print(f"{name}, tolerance {tolerance:g}: {results[name][f'{tolerance:g}']}", flush=True)
    return results


def by_probes() -> dict[str, Any]:
    """The mean error of Hutchinson's estimate and its spread over examples, in nats per dimension."""
    oracle, x = oracle_and_points(schedules.Cosine())
    truth, results = oracle.log_density(x, 0.0), dict[str, Any]()
    for draw in (divergence.rademacher, divergence.gaussian):
        for num in NUM_PROBES:
            probes = draw(jax.random.split(jax.random.key(1), NUM_EXAMPLES), x, num_probes=num)
            solve = jax.jit(
                lambda x, probes: likelihood.log_density(oracle, oracle.schedule, x, probes=probes, rtol=1e-6)
            )
            error = np.asarray(solve(x, probes).nats - truth) / 2
            mean, spread = float(error.mean()), float(error.std())
            results[f"{draw.__name__}, {num}"] = {"mean_error": mean, "spread": spread}
            print(
                f"{num} {draw.__name__}: {mean:.4f} +- {spread / NUM_EXAMPLES**0.5:.4f}, spread {spread:.4f}",
                flush=True,
            )
    return results


def by_bound() -> dict[str, Any]:
    """How far the bound is above the true negative log-density, in nats per dimension, by schedule and variance."""
    results: dict[str, Any] = {}
    for name, variance in (("cosine", "small"), ("cosine", "large"), ("linear_beta", "small")):
        gaps = results[f"{name}, {variance}"] = {}
        for num in STEPS:
            gap = gap_of(SCHEDULES[name], variance, np.arange(num, 0, -1) / num)
            gaps[str(num)] = {"gap": float(gap.mean()), "standard_error": float(gap.std() / len(gap) ** 0.5)}
            print(f"{name}, {variance}, {num} steps: {gaps[str(num)]}", flush=True)
    return results


def gap_of(schedule: Any, variance: Any, times: np.ndarray) -> np.ndarray:
    """The bound minus the true negative log-density of every example, in nats per dimension."""
    oracle, x = oracle_and_points(schedule, NUM_OF_BOUND)

    @jax.jit
    def solve(keys: jax.Array, x: jax.Array) -> jax.Array:
        return variational_bound.bound(keys, oracle, schedule, x, times=times, variance=variance).total

    return np.asarray(solve(jax.random.split(jax.random.key(2), NUM_OF_BOUND), x) + oracle.log_density(x, 0.0)) / 2


def plot(ode: dict[str, Any], bound: dict[str, Any]) -> None:
    """Writes convergence.png: the gap of the bound by steps, and the error of the ODE by evaluations."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name, gaps in bound.items():
        value, error = (np.array([one[key] for one in gaps.values()]) for key in ("gap", "standard_error"))
        left.errorbar([int(num) for num in gaps], value, 2 * error, label=name, marker="o", ms=3, capsize=2)
    left.set(
        xscale="log", yscale="log", xlabel="steps of the bound", ylabel="bound above the truth, nats per dimension"
    )
    for name, of_tolerance in ode.items():
        points = [(one["num_evaluations"], one["largest_error"]) for one in of_tolerance.values()]
        right.plot(*zip(*points, strict=True), label=name, marker="o", ms=3)
    right.set(xscale="log", yscale="log", xlabel="evaluations of the ODE", ylabel="largest error, nats per dimension")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(HERE / "convergence.png", dpi=110)
    plt.close(figure)


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    begun = time.monotonic()
    with jax.enable_x64(True):
        ode, probes, bound = by_ode(), by_probes(), by_bound()
    if not args.no_write:
        plot(ode, bound)
        sizes = {
            "examples": NUM_EXAMPLES,
            "examples_of_bound": NUM_OF_BOUND,
            "seconds": round(time.monotonic() - begun, 1),
        }
        common.write(HERE / "results.json", {"ode": ode, "probes": probes, "bound": bound} | sizes)


if __name__ == "__main__":
    devices.configure()
    main()
