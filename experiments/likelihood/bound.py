"""The variational bound against the truth as the steps of its chain grow: of the mixture, and of the 1,797 digits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffax import denoisers, samplers, schedules
from diffax.likelihood import variational_bound
from experiments import common
from experiments.likelihood import mixture

STEPS, NUM_POINTS = (10, 30, 100, 300, 1000, 3000, 10_000), 10_000
DIGIT_STEPS, NUM_DIGITS = (10, 30, 100, 300, 1000), 48
# The memoriser says which of the digits it was.
DIGITS_EXACT = float(np.log2(1797) / 64)


def even_in_t(schedule: Any, num_steps: int) -> np.ndarray:
    return samplers.grids.uniform(num_steps)


def even_in_log_snr(schedule: Any, num_steps: int) -> np.ndarray:
    """From t = 0.999 to 0.001, where the last step starts."""
    return samplers.grids.log_snr(schedule, num_steps - 1, start=0.999, end=1e-3)


# Schedule, variance of the reverse steps, times.
CASES = {
    "cosine, large, even in t": ("cosine", "large", even_in_t),
    "cosine, small, even in t": ("cosine", "small", even_in_t),
    "linear_beta, small, even in t": ("linear_beta", "small", even_in_t),
    "cosine, large, even in log-SNR": ("cosine", "large", even_in_log_snr),
    "cosine, small, even in log-SNR": ("cosine", "small", even_in_log_snr),
}


def of_mixture() -> dict[str, Any]:
    """How far the bound is above the true negative log-density, in nats per dimension, by case and steps."""
    results: dict[str, Any] = {}
    for name, (schedule, variance, times) in CASES.items():
        results[name] = {}
        for num in STEPS:
            found = mixture.mean_and_error(_gap(mixture.SCHEDULES[schedule], variance, times, num))
            results[name][str(num)] = found
            print(f"{name}, {num} steps: {found['mean']:.4f} +- {found['standard_error']:.4f}", flush=True)
    return results


def _gap(schedule: Any, variance: Any, times: Any, num_steps: int) -> jax.Array:
    """The bound minus the true negative log-density of every point, in nats per dimension."""
    oracle = mixture.oracle(schedule)
    x, chain = mixture.points(oracle, NUM_POINTS), times(schedule, num_steps)

    @jax.jit
    def solve(keys: jax.Array, x: jax.Array) -> jax.Array:
        return variational_bound.bound(keys, oracle, schedule, x, times=chain, variance=variance).total

    return (solve(jax.random.split(jax.random.key(2), NUM_POINTS), x) + oracle.log_density(x, 0.0)) / 2


def of_digits() -> dict[str, Any]:
    """The bound of the digits' optimal denoiser in bits per dimension, over some digits, by steps."""
    schedule, results = schedules.Cosine(), dict[str, Any]()
    digits = common.real_digits().reshape(-1, 8, 8, 1).astype(np.float32)
    chosen = np.random.default_rng(0).choice(len(digits), NUM_DIGITS, replace=False)
    denoiser, keys = denoisers.empirical(schedule, digits), jax.random.split(jax.random.key(1), NUM_DIGITS)
    for num in DIGIT_STEPS:

        @jax.jit
        def bits(keys: jax.Array, denoiser: Any, x_0: jax.Array, num: int = num) -> jax.Array:
            times = even_in_t(schedule, num)
            found = variational_bound.bound(keys, denoiser, schedule, x_0, times=times, num_levels=17)
            return found.total / (64 * np.log(2))

        results[str(num)] = found = mixture.mean_and_error(bits(keys, denoiser, jnp.asarray(digits[chosen])))
        print(f"digits, {num} steps: {found['mean']:.4f} +- {found['standard_error']:.4f}", flush=True)
    return results
