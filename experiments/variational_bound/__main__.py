"""Does the variational bound approach the likelihood as steps grow? python -m experiments.variational_bound

Evaluates the bound of exact denoisers under the cosine schedule with 10 to 10,000 steps: of a Gaussian mixture in the
plane, whose density is known, with the two fixed variances and times even in t or in log-SNR; and of the 1,797 digits,
whose optimal denoiser is a memoriser with the likelihood 1 / 1797. Writes results.json and bound.png.
"""

import math
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffax import arrays, denoisers, devices, samplers, schedules
from diffax.likelihood import variational_bound
from diffax.reporting import plots
from experiments import common

HERE = pathlib.Path(__file__).parent
SCHEDULE = schedules.Cosine()
STEPS, NUM_POINTS = (10, 100, 1_000, 10_000), 2_000
DIGIT_STEPS, NUM_DIGITS = (10, 30, 100, 300, 1_000), 48
Curve = tuple[list[float], list[float]]


def even_in_t(num_steps: int) -> np.ndarray:
    return samplers.grids.uniform(num_steps)


def even_in_log_snr(num_steps: int) -> np.ndarray:
    """From t = 0.999 to 0.001, where the last step starts."""
    return samplers.grids.log_snr(SCHEDULE, num_steps - 1, start=0.999, end=1e-3)


def of_mixture(times: np.ndarray, variance: Any) -> tuple[float, float]:
    """The bound less -log q(x_0) in nats per dimension: the mean over examples and its standard error."""
    oracle = denoisers.gaussian_mixture(SCHEDULE, [0.4, 0.6], [[-0.5, 0.2], [0.6, -0.1]], [0.2, 0.35])

    @jax.jit
    def excess(keys: jax.Array) -> jax.Array:
        data_keys, keys = arrays.split_keys(keys, 2)
        x_0 = oracle.sample(data_keys)
        found = variational_bound.bound(keys, oracle, SCHEDULE, x_0, times=times, variance=variance)
        return (found.total + oracle.log_density(x_0, 0.0)) / 2

    return _mean(excess(jax.random.split(jax.random.key(0), NUM_POINTS)))


def of_digits(num_steps: int) -> tuple[float, float]:
    """The bound of the digits' optimal denoiser in bits per dimension, over some digits, and its standard error."""
    digits = common.real_digits().reshape(-1, 8, 8, 1).astype(np.float32)
    denoiser = denoisers.empirical(SCHEDULE, digits)

    @jax.jit
    def bits(keys: jax.Array, denoiser: Any, x_0: jax.Array) -> jax.Array:
        times = even_in_t(num_steps)
        found = variational_bound.bound(keys, denoiser, SCHEDULE, x_0, times=times, num_levels=17)
        return found.total / (64 * np.log(2))

    chosen = np.random.default_rng(0).choice(len(digits), NUM_DIGITS, replace=False)
    return _mean(bits(jax.random.split(jax.random.key(1), NUM_DIGITS), denoiser, jnp.asarray(digits[chosen])))


def _mean(values: jax.Array) -> tuple[float, float]:
    exact = np.asarray(values, np.float64)
    return float(exact.mean()), float(exact.std(ddof=1) / len(exact) ** 0.5)


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    devices.enable_compilation_cache()
    begun, results = time.monotonic(), dict[str, dict[str, tuple[float, float]]]()
    for grid, times in (("even in t", even_in_t), ("even in log-SNR", even_in_log_snr)):
        for variance in ("large", "small"):
            name = f"{variance} variance, times {grid}"
            results[name] = {str(num): of_mixture(times(num), variance) for num in STEPS}
            print(name, *(f"{num} {mean:.4f} +- {error:.4f}" for num, (mean, error) in results[name].items()), sep="; ")
    results["digits"] = {str(num): of_digits(num) for num in DIGIT_STEPS}
    exact = np.log2(1797) / 64
    print("digits", *(f"{num} {mean:.4f} +- {error:.4f}" for num, (mean, error) in results["digits"].items()), sep="; ")
    if args.no_write:
        return
    panels = {
        "bound less -log q(x_0), nats per dimension": {
            name: _curve(found) for name, found in results.items() if name != "digits"
        },
        "bound, bits per dimension": {
            "digits": _curve(results["digits"]),
            "log2(1797) / 64": ([*DIGIT_STEPS], [exact] * len(DIGIT_STEPS)),
        },
    }
    plots.lines(HERE / "bound.png", panels, xlabel="steps", log="xy", dashed=("log2(1797) / 64",))
    common.write(HERE / "results.json", results | {"seconds": round(time.monotonic() - begun, 1)})


def _curve(found: dict[str, tuple[float, float]]) -> Curve:
    """Means over steps; one that noise made negative is left out of a logarithmic axis."""
    return [float(num) for num in found], [mean if mean > 0 else math.nan for mean, _ in found.values()]


if __name__ == "__main__":
    devices.configure()
    main()
