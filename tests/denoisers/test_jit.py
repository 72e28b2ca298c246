"""Denoisers compiled by themselves: `jax.jit(denoiser)` and `jax.jit(of_denoiser)(denoiser)`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, processes, schedules
from diffax.denoisers import flow_maps, time_inputs

SCHEDULE = schedules.Cosine()
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)
ORACLE = denoisers.gaussian_mixture(SCHEDULE, [1.0], np.array([[0.5, -0.3]]), np.array([0.6]))
OTHER = denoisers.empirical(SCHEDULE, np.array([[1.0, 0.0], [0.0, -1.0]]))


def network(params, x, time_input, condition=None, *, key=None):
    return params * x


DENOISERS = {
    "gaussian_mixture": ORACLE,
    "empirical": OTHER,
    "from_network": denoisers.from_network(
        network, jnp.asarray(0.3), SCHEDULE, processes.V(), time_input=time_inputs.scaled
    ),
    "classifier_free": denoisers.classifier_free(ORACLE, OTHER, 1.5),
    "classifier_guided": denoisers.classifier_guided(ORACLE, SCHEDULE, lambda x, t: -x.sum(-1)),
    "cfg_plus_plus": denoisers.cfg_plus_plus(ORACLE, OTHER, 0.6),
    "epsilon_scaled": denoisers.epsilon_scaled(ORACLE, SCHEDULE, 1.02),
    "inpainted": denoisers.inpainted(ORACLE, SCHEDULE, X, np.array([True, False])),
    "pigdm": denoisers.pigdm(ORACLE, SCHEDULE, lambda x: x[:, :1], X[:, :1]),
    "thresholded": denoisers.thresholded(ORACLE, SCHEDULE, percentile=90.0),
    "two_time_denoiser": flow_maps.two_time_denoiser(flow_maps.gaussian(ORACLE), SCHEDULE),
}


@pytest.mark.parametrize("name", DENOISERS)
def test_by_itself_and_as_an_argument(name):
    denoiser, times = DENOISERS[name], (0.4, 0.2) if name == "two_time_denoiser" else (0.4,)
    ours, expected = jax.jit(denoiser)(X, *times), jax.jit(lambda denoiser: denoiser(X, *times))(denoiser)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), ours, expected)
