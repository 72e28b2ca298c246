"""The probability-flow ODE against the true density: its error, what a Gaussian prior adds, and Hutchinson's probes."""

from typing import Any

import jax
import numpy as np

from diffax import likelihood
from diffax.likelihood import divergence
from experiments.likelihood import mixture

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6)
NUM_EXAMPLES, NUM_PROBES = 1000, (1, 4, 16)


def errors() -> dict[str, Any]:
    """Errors in nats per dimension with the oracle's own prior, and what a Gaussian prior adds, by schedule."""

    @jax.jit
    def solve(oracle: Any, x: jax.Array, tolerance: float) -> tuple[Any, Any, jax.Array]:
        options = {"rtol": tolerance, "atol": tolerance}
        own = likelihood.log_density(oracle, oracle.schedule, x, prior=lambda x: oracle.log_density(x, 1.0), **options)
        gaussian = likelihood.log_density(oracle, oracle.schedule, x, **options)
        return own, gaussian, oracle.log_density(x, 0.0)

    results: dict[str, Any] = {}
    for name, schedule in mixture.SCHEDULES.items():
        oracle = mixture.oracle(schedule)
        x = mixture.points(oracle, NUM_EXAMPLES)
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


def probes() -> dict[str, Any]:
    """The mean error of Hutchinson's estimate and its spread over examples, in nats per dimension."""
    oracle = mixture.oracle(mixture.SCHEDULES["cosine"])
    x = mixture.points(oracle, NUM_EXAMPLES)
    truth, results = oracle.log_density(x, 0.0), dict[str, Any]()

    @jax.jit
    def solve(x: jax.Array, probes: divergence.Probes) -> jax.Array:
        return likelihood.log_density(oracle, oracle.schedule, x, probes=probes, rtol=1e-6).nats

    for draw in (divergence.rademacher, divergence.gaussian):
        for num in NUM_PROBES:
            drawn = draw(jax.random.split(jax.random.key(1), NUM_EXAMPLES), x, num_probes=num)
            error = np.asarray(solve(x, drawn) - truth) / 2
            mean, spread = float(error.mean()), float(error.std())
            results[f"{draw.__name__}, {num}"] = {"mean_error": mean, "spread": spread}
            print(
                f"{num} {draw.__name__}: {mean:.4f} +- {spread / NUM_EXAMPLES**0.5:.4f}, spread {spread:.4f}",
                flush=True,
            )
    return results
