"""A network and a parameterization as a denoiser."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, processes, schedules
from diffax.conditions import Classes
from diffax.denoisers import time_inputs
from diffax.typing import Network
from tests.cases import PARAMETERIZATIONS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3)).astype(np.float32)


def affine(params, x, time_input, condition, *, key=None):
    """A network that shows everything it receives."""
    out = params["gain"] * x + params["slope"] * time_input[:, None]
    if condition is not None:
        out = out + condition["shift"][:, None]
    return out if key is None else out + jax.vmap(jax.random.normal)(key)[:, None]


PARAMS = {"gain": 0.5, "slope": 0.25}
CONDITION = {"shift": jnp.array([0.0, 1.0, 2.0, 3.0])}


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("t", [0.3, np.array([0.2, 0.4, 0.6, 0.8])])
def test_a_denoiser_is_the_network_s_output_read_by_its_parameterization(name, t):
    schedule, parameterization = schedules.Cosine(), PARAMETERIZATIONS[name]
    denoiser = denoisers.from_network(
        affine, PARAMS, schedule, parameterization, time_input=time_inputs.scaled, condition=CONDITION
    )
    x_0, eps, _ = denoiser(jnp.asarray(X), jnp.asarray(t, jnp.float32))

    per_sample = np.broadcast_to(t, (4,))
    out = (
        0.5 * parameterization.network_input(schedule, X.astype(float), per_sample)
        + 0.25 * 999 * per_sample[:, None]
        + np.arange(4.0)[:, None]
    )
    expected = parameterization.predict(schedule, out, X.astype(float), per_sample)
    np.testing.assert_allclose(x_0, expected.x_0, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(eps, expected.eps, rtol=1e-4, atol=1e-3)
    assert x_0.dtype == eps.dtype == jnp.float32


def test_the_raw_network_passes_keys_on():
    predict = denoisers.raw_network(affine, PARAMS, schedules.Flow(), processes.V(), time_input=time_inputs.scaled)
    keys = jax.random.split(jax.random.key(0), 4)
    dropped = predict(jnp.asarray(X), 0.1, key=keys) - predict(jnp.asarray(X), 0.1)
    np.testing.assert_allclose(dropped[:, 0], jax.vmap(jax.random.normal)(keys), atol=1e-5)


def test_params_schedule_and_condition_are_arguments_of_jit_and_not_baked_in():
    traces = []

    @jax.jit
    def eps_of(denoiser, x, t):
        traces.append(1)
        return denoiser(x, t).eps

    def built(gain, shift, beta_max):
        condition, schedule = {"shift": jnp.full(4, shift)}, schedules.LinearBeta(0.1, beta_max)
        params = {"gain": gain, "slope": 0.0}
        return denoisers.from_network(
            affine, params, schedule, processes.Eps(), time_input=time_inputs.log_snr, condition=condition
        )

    for gain, shift, beta_max in ((1.0, 0.0, 20.0), (2.0, 0.5, 10.0)):
        computed = eps_of(built(gain, shift, beta_max), jnp.asarray(X), jnp.float32(0.5))
        np.testing.assert_allclose(computed, gain * X + shift, rtol=1e-6)
    assert len(traces) == 1


def test_a_gradient_reaches_the_params():
    def loss(params):
        denoiser = denoisers.from_network(
            affine, params, schedules.Flow(), processes.V(), time_input=time_inputs.scaled
        )
        return denoiser(jnp.asarray(X), 0.5).x_0.sum()

    # At t = 1/2 on the line, x_0 = (x - v) / 1: minus the sum of x, and minus 999/2 for each of 12 numbers.
    gradient = jax.grad(loss)(PARAMS)
    assert gradient["gain"] == pytest.approx(-X.sum(), rel=1e-5)
    assert gradient["slope"] == pytest.approx(-999 / 2 * 12, rel=1e-5)


def test_time_inputs_are_the_papers():
    t = np.array([0.001, 0.25, 1.0])
    discrete, edm = schedules.Discrete.linear(), schedules.VarianceExploding(0.002, 80.0)
    np.testing.assert_array_equal(time_inputs.index(discrete, t), [0, 249, 999])
    np.testing.assert_allclose(time_inputs.scaled(edm, t), 999 * t, rtol=1e-6)
    # EDM, table 1: c_noise = log(sigma) / 4.
    np.testing.assert_allclose(time_inputs.quarter_log_sigma(edm, t), np.log(0.002 * 40_000**t) / 4, rtol=1e-10)
    np.testing.assert_allclose(time_inputs.log_snr(edm, t), -2 * np.log(0.002 * 40_000**t), rtol=1e-10)


def test_an_index_needs_a_table_of_steps():
    with pytest.raises(ValueError, match="'index' needs a Discrete schedule, got Cosine"):
        time_inputs.index(schedules.Cosine(), 0.5)


class Affine:
    """A network as a user writes one."""

    conditions: ClassVar[dict] = {"label": Classes(4)}

    def init(self, key, sample_shape):
        return {"gain": jax.random.normal(key, sample_shape), "slope": jnp.float32(0.25)}

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        shift = 0 if condition is None else condition["label"].astype(x.dtype)[:, None]
        return params["gain"][None] * x + params["slope"] * time_input[:, None] + shift


def test_a_network_of_ones_own_has_the_protocol_and_becomes_a_denoiser():
    network = Affine()
    assert isinstance(network, Network)
    assert not isinstance(affine, Network)
    params = network.init(jax.random.key(0), (3,))
    condition = {"label": jnp.array([0, 1, 2, 3])}
    denoiser = denoisers.from_network(
        network, params, schedules.Flow(), processes.X0(), time_input=time_inputs.scaled, condition=condition
    )
    expected = np.asarray(params["gain"]) * X + 0.25 * 999 * 0.5 + np.arange(4.0)[:, None]
    np.testing.assert_allclose(denoiser(jnp.asarray(X), 0.5).x_0, expected, rtol=1e-6)
