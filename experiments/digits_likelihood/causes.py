"""Why models sample as they do: the error of x_0 by noise level, and samples that are mirrored digits."""

import numpy as np

from diffax import data, runs
from experiments import common, noise_levels


def errors(trained: runs.Trained) -> dict[str, float]:
    """The errors of all held-out digits by noise level (experiments/noise_levels.py)."""
    held_out = data.digits.load("test")
    return noise_levels.errors(trained, held_out.to_network_range(held_out.examples))


def mirrored(trained: runs.Trained) -> dict[str, float]:
    """The share of 2,000 samples nearer to a mirrored digit than to any digit; and that of digits, themselves left out.

    A model whose augmentation leaks draws mirrored digits.
    """
    digits = common.real_digits()
    others = digits.reshape(-1, 8, 8)[:, :, ::-1].reshape(len(digits), -1)
    samples = trained.draw(2000, batch_size=500).reshape(2000, -1).astype(np.float64)
    of_digits = _squared_distances(digits, digits)
    np.fill_diagonal(of_digits, np.inf)
    return {
        "samples": float((_nearest(samples, others) < _nearest(samples, digits)).mean()),
        "digits": float((_nearest(digits, others) < of_digits.min(1)).mean()),
    }


def _nearest(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _squared_distances(x, y).min(1)


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x**2).sum(1)[:, None] - 2 * x @ y.T + (y**2).sum(1)
