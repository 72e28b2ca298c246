"""Losses of flow maps: right where the flow map is, by exact flow maps of Gaussian data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, losses, processes, schedules
from diffax.denoisers import flow_maps
from diffax.losses import weighting
from diffax.processes import time_sampling

MEAN, COVARIANCE = np.array([0.5, -1.0]), np.array([[1.0, 0.3], [0.3, 0.25]])
CASES = {
    "flow": (schedules.Flow(), processes.FlowVelocity()),
    "cosine_v": (schedules.Cosine(), processes.V()),
    "exploding_edm": (schedules.VarianceExploding(0.02, 40.0), processes.Edm(0.5)),
}
KEYS = jax.random.split(jax.random.key(0), 64)
X_0 = jnp.asarray(np.random.default_rng(1).multivariate_normal(MEAN, COVARIANCE, 64))
DENSITY = time_sampling.Uniform(0.05, 0.95)


def exact_output(schedule, parameterization, mixture):
    """The raw output of the exact flow map: predict(x_t, t, s)."""
    flow_map = flow_maps.gaussian(mixture)

    def predict(x_t, t, s=None, *, key=None):
        s = t if s is None else s
        away = jnp.where(jnp.abs(t - s) < 1e-9, t - 1e-6, s)  # the line through both needs two
        x_0, eps = flow_maps.two_time_denoiser(flow_map, schedule)(x_t, t, away)[:2]
        return parameterization.target(schedule, x_0, eps, t)

    return predict


def gradient(loss, case, change, **options):
    """Loss and its gradient in a disturbance of the exact raw output, at none."""
    schedule, parameterization = CASES[case]
    mixture = denoisers.gaussian_mixture(schedule, [1.0], MEAN[None], COVARIANCE[None])
    exact = exact_output(schedule, parameterization, mixture)

    def value(strength):
        def predict(x_t, t, s=None, *, key=None):
            return exact(x_t, t, s) + strength * change(x_t, t, s)

        rules = {"weighting": weighting.Flow(), "time_density": DENSITY, "teacher": mixture}
        return loss(KEYS, predict, schedule, parameterization, X_0, **rules, **options).mean()

    return jax.jit(jax.value_and_grad(value))(0.0)


def bump(x_t, t, s):
    return jnp.sin(3 * x_t) + 0.5 + t[:, None] * x_t[:, ::-1]


@pytest.mark.parametrize("case", CASES)
def test_mean_flow_has_its_minimum_at_the_exact_flow_map(case):
    with jax.enable_x64(True):
        value, slope = gradient(losses.mean_flow, case, bump, share=1.0, adaptive=0.0)
        assert abs(slope) < 1e-5 and value < 1e-9
