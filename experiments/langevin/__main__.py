"""Unadjusted Langevin dynamics on a one-dimensional density: python -m experiments.langevin

Samples p(x) proportional to (0.2 + cos^2 2x) exp(-0.1 x^2) with the gradient of its logarithm alone, and compares the
histogram with the exact density. Writes histogram.png and results.json.
"""

import pathlib
import time

import jax
import jax.numpy as jnp
import matplotlib

from diffax import devices, samplers
from experiments import common

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

HERE = pathlib.Path(__file__).parent
NUM_CHAINS, NUM_STEPS, STEP_SIZE = 100_000, 5_000, 2e-3
EDGES = np.linspace(-8.0, 8.0, 161)


def log_density(x: jax.Array) -> jax.Array:
    """The logarithm of the density without its normalising constant, elementwise."""
    return jnp.log(0.2 + jnp.cos(2 * x) ** 2) - 0.1 * x**2


def exact_shares(edges: np.ndarray) -> np.ndarray:
    """The probability of each bin.

    The integral over a bin is computed with 64 Gauss-Legendre nodes, which is exact to rounding. The normalising
    constant has a closed form: 0.2 + cos^2 2x = 0.7 + cos(4x) / 2, and the integral of cos(4x) exp(-0.1 x^2) is that of
    a Gaussian characteristic function.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half = np.diff(edges)[:, None] / 2
    x = edges[:-1, None] + half * (1 + nodes)
    mass = ((0.2 + np.cos(2 * x) ** 2) * np.exp(-0.1 * x**2) * weights * half).sum(1)
    # The Gaussian has the variance 5, so the integral over the whole line is sqrt(10 pi) (0.7 + exp(-40) / 2).
    return mass / (np.sqrt(10 * np.pi) * (0.7 + np.exp(-40.0) / 2))


def chains(step_size: float, num_steps: int, num_chains: int) -> np.ndarray:
    """The last states of the chains, (num_chains,)."""
    score = jax.grad(lambda x: log_density(x).sum())
    keys, start = jax.random.split(jax.random.key(0), num_chains), jax.random.key(1)
    x = 2 * jax.random.normal(start, (num_chains, 1))
    run = jax.jit(lambda x: samplers.langevin(keys, score, x, step_size=step_size, num_steps=num_steps))
    return np.asarray(run(x))[:, 0]


def main() -> None:
    args = common.parse_args(__doc__, with_runs=False)
    begun, results = time.monotonic(), {}
    exact = exact_shares(EDGES)
    for step_size in (STEP_SIZE, 10 * STEP_SIZE):
        x = chains(step_size, int(NUM_STEPS * STEP_SIZE / step_size), NUM_CHAINS)
        shares = np.histogram(x, EDGES)[0] / len(x)
        noise = np.sqrt(exact / len(x)).sum() * np.sqrt(2 / np.pi) / 2
        distance = 0.5 * np.abs(shares - exact).sum()
        results[f"step size {step_size:g}"] = {"total variation": distance, "of exact samples, expected": noise}
        print(f"step size {step_size:g}: total variation {distance:.4f}; exact samples would have {noise:.4f}")
        if step_size == STEP_SIZE and not args.no_write:
            plot(shares, exact)
    if not args.no_write:
        sizes = {"chains": NUM_CHAINS, "steps": NUM_STEPS, "seconds": round(time.monotonic() - begun, 1)}
        common.write(HERE / "results.json", results | sizes)


def plot(shares: np.ndarray, exact: np.ndarray) -> None:
    """Writes histogram.png: the histogram of the chains, scaled to a density, and the exact density."""
    width = np.diff(EDGES)
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    axes.stairs(shares / width, EDGES, fill=True, color="tab:blue", alpha=0.5, label="Langevin dynamics")
    axes.plot((EDGES[1:] + EDGES[:-1]) / 2, exact / width, color="black", lw=1.2, label="exact")
    axes.set(xlabel="x", ylabel="density", xlim=(EDGES[0], EDGES[-1]))
    axes.legend(frameon=False)
    figure.savefig(HERE / "histogram.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    devices.configure()
    main()
