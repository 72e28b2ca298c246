"""A mixture of three Gaussians in the plane, whose denoiser and density are known in closed form."""

from typing import Any

import jax
import numpy as np

from diffax import denoisers, schedules

SCHEDULES: dict[str, Any] = {
    "cosine": schedules.Cosine(),
    "linear_beta": schedules.LinearBeta(),
    "variance_exploding": schedules.VarianceExploding(0.01, 50.0),
    "sub_vp": schedules.SubVP(),
    "flow": schedules.Flow(),
}
_WEIGHTS_MEANS_STDS = ([0.5, 0.2, 0.3], [[1.0, -0.5], [-1.5, 0.5], [0.0, 2.0]], [0.4, 0.1, 0.25])


def oracle(schedule: Any) -> denoisers.GaussianMixture:
    """The exact denoiser."""
    return denoisers.gaussian_mixture(schedule, *map(np.array, _WEIGHTS_MEANS_STDS))


def points(exact: denoisers.GaussianMixture, num: int) -> jax.Array:
    """Points of the process at t = 0."""
    return exact.sample(jax.random.split(jax.random.key(0), num), 0.0)


def mean_and_error(values: Any) -> dict[str, float]:
    """The mean over examples and its standard error."""
    exact = np.asarray(values, np.float64)
    return {"mean": float(exact.mean()), "standard_error": float(exact.std(ddof=1) / len(exact) ** 0.5)}
