"""Classifier-free guidance, of two denoisers and of one network asked twice at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, processes, schedules
from diffax.denoisers import time_inputs
from diffax.typing import Prediction

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)
T = jnp.array([0.1, 0.4, 0.6, 0.9])


def constant(x_0, eps, fraction=None):
    return lambda x_t, t: Prediction(jnp.full_like(x_t, x_0), jnp.full_like(x_t, eps), fraction)


def test_both_halves_are_extrapolated():
    """arXiv:2207.12598, eq. 6: (1 + w) conditional - w unconditional, scale = 1 + w."""
    guided = denoisers.classifier_free(constant(1.0, -2.0), constant(0.5, 1.0), 3.0)
    x_0, eps, _ = guided(X, T)
    np.testing.assert_allclose(x_0, 3 * 1.0 - 2 * 0.5)
    np.testing.assert_allclose(eps, 3 * -2.0 - 2 * 1.0)


def test_the_halves_still_make_x_t():
    schedule = schedules.Cosine()
    oracles = [denoisers.gaussian_mixture(schedule, [1.0], [[m, 0.0, 1.0]], [0.5]) for m in (1.0, -1.0)]
    x_0, eps, _ = denoisers.classifier_free(*oracles, 4.0)(X, T)
    alpha, sigma = schedule.alpha(T)[:, None], schedule.sigma(T)[:, None]
    np.testing.assert_allclose(alpha * x_0 + sigma * eps, X, atol=1e-5)


def test_scale_1_is_the_condition_and_scale_0_is_without():
    conditional, unconditional = constant(1.25, -2.0), constant(0.5, 1.0)
    for scale, expected in ((1.0, conditional), (0.0, unconditional)):
        for half in (0, 1):
            guided = denoisers.classifier_free(conditional, unconditional, scale)(X, T)[half]
            np.testing.assert_array_equal(guided, expected(X, T)[half])


def test_outside_its_interval_guidance_is_off():
    guided = denoisers.classifier_free(constant(1.0, 0.0), constant(0.0, 0.0), 5.0, interval=(0.4, 0.6))
    np.testing.assert_allclose(guided(X, T).x_0[:, 0], [1, 5, 5, 1])
    assert guided(X, jnp.float32(0.7)).x_0[0, 0] == 1
    assert guided(X, 0.5).x_0[0, 0] == 5


def test_a_scale_for_each_sample():
    guided = denoisers.classifier_free(constant(1.0, 0.0), constant(0.0, 0.0), jnp.arange(4.0))
    for t in (T, 0.5):
        np.testing.assert_allclose(guided(X, t).x_0[:, 0], [0, 1, 2, 3])


def test_a_learned_variance_is_the_condition_s():
    fraction = jnp.full((4, 3), 0.3)
    guided = denoisers.classifier_free(constant(1.0, 0.0, fraction), constant(0.0, 0.0, 2 * fraction), 2.0)
    np.testing.assert_array_equal(guided(X, T).log_variance_fraction, fraction)


def network(params, x, time_input, condition, *, key=None):
    return jnp.tanh(params * x + 0.3 * condition["label"][:, None] + 1e-3 * time_input[:, None])


CONDITION, NULL = {"label": jnp.arange(4.0)}, {"label": jnp.full(4, -1.0)}
SETTINGS = (network, 0.7, schedules.Flow(), processes.FlowVelocity())


def one_network(scale, **options):
    return denoisers.guided_network(
        *SETTINGS, time_input=time_inputs.scaled, condition=CONDITION, null_condition=NULL, scale=scale, **options
    )


@pytest.mark.parametrize("t", [T, jnp.float32(0.3), 0.3])
def test_one_call_of_twice_the_batch_is_two_calls(t):
    options = {"scale": 2.5, "interval": (0.2, 0.7)}
    separate = [
        denoisers.from_network(*SETTINGS, time_input=time_inputs.scaled, condition=condition)
        for condition in (CONDITION, NULL)
    ]
    expected = denoisers.classifier_free(*separate, options.pop("scale"), **options)(X, t)
    computed = one_network(2.5, **options)(X, t)
    np.testing.assert_allclose(computed.x_0, expected.x_0, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(computed.eps, expected.eps, rtol=1e-5, atol=1e-6)


def test_a_guided_network_asks_its_network_once():
    calls = []

    def counting(params, x, time_input, condition, *, key=None):
        calls.append(x.shape)
        return network(params, x, time_input, condition)

    guided = denoisers.guided_network(
        counting, *SETTINGS[1:], time_input=time_inputs.scaled, condition=CONDITION, null_condition=NULL, scale=2.0
    )
    guided(X, T)
    assert calls == [(8, 3)]


def test_another_scale_or_interval_does_not_retrace():
    traces = []

    @jax.jit
    def x_0_of(denoiser, x, t):
        traces.append(1)
        return denoiser(x, t).x_0

    for scale, interval in ((1.0, (0.0, 1.0)), (4.0, (0.2, 0.5))):
        guided = one_network(scale, interval=interval)
        np.testing.assert_allclose(x_0_of(guided, X, T), guided(X, T).x_0, rtol=1e-5, atol=1e-6)
    assert len(traces) == 1
