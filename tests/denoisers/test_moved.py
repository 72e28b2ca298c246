"""Thresholding, classifier guidance, CFG++ and rescaled guidance, where the answer is known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, schedules
from diffax.typing import Prediction

SCHEDULE = schedules.Cosine()
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
T = jnp.array([0.0, 0.1, 0.4, 0.6, 0.9, 1.0])
ALPHA, SIGMA = np.asarray(SCHEDULE.alpha(T))[:, None], np.asarray(SCHEDULE.sigma(T))[:, None]


def fixed(x_0, eps=0.25):
    return lambda x_t, t: Prediction(
        jnp.broadcast_to(jnp.asarray(x_0, jnp.float32), x_t.shape), jnp.full_like(x_t, eps)
    )


def assert_makes_x_t(prediction, inside):
    sum_of_both = ALPHA * prediction.x_0 + SIGMA * prediction.eps
    np.testing.assert_allclose(sum_of_both[inside], X[inside], atol=2e-6)


def test_static_thresholding_clips_x_0_and_completes_eps():
    prediction = denoisers.thresholded(fixed([-3.0, -0.5, 0.5, 2.0]), SCHEDULE)(X, T)
    np.testing.assert_allclose(prediction.x_0, np.broadcast_to([-1.0, -0.5, 0.5, 1.0], X.shape))
    assert_makes_x_t(prediction, T > 0)
    np.testing.assert_array_equal(prediction.eps[0], 0.25)  # at sigma = 0 there is nothing to complete


def test_dynamic_thresholding_is_that_of_imagen():
    """arXiv:2205.11487, section 2.3: clip to the percentile s of |x_0|, divide by s, where s > 1."""
    x_0 = np.array([-3.0, -0.5, 0.5, 2.0])
    prediction = denoisers.thresholded(fixed(x_0), SCHEDULE, percentile=60.0)(X, T)
    s = np.percentile(np.abs(x_0), 60.0)
    assert 1 < s < 2
    np.testing.assert_allclose(prediction.x_0, np.broadcast_to(np.clip(x_0, -s, s) / s, X.shape), rtol=1e-5)
    within = denoisers.thresholded(fixed(x_0 / 4), SCHEDULE, percentile=60.0)(X, T)
    np.testing.assert_allclose(within.x_0, np.broadcast_to(x_0 / 4, X.shape))


def test_the_limit_is_that_of_the_data():
    """For data within [-1/2, 1/2]: clip to the percentile s where s > 1/2, and scale back to 1/2."""
    x_0 = np.array([-3.0, -0.5, 0.7, 2.0])
    static = denoisers.thresholded(fixed(x_0), SCHEDULE, limit=0.5)(X, T)
    np.testing.assert_allclose(static.x_0, np.broadcast_to([-0.5, -0.5, 0.5, 0.5], X.shape))
    s = np.percentile(np.abs(x_0), 50.0)
    dynamic = denoisers.thresholded(fixed(x_0), SCHEDULE, limit=0.5, percentile=50.0)(X, T)
    np.testing.assert_allclose(dynamic.x_0, np.broadcast_to(np.clip(x_0, -s, s) / s / 2, X.shape), rtol=1e-5)
    within = denoisers.thresholded(fixed(x_0 / 8), SCHEDULE, limit=0.5, percentile=50.0)(X, T)
    np.testing.assert_allclose(within.x_0, np.broadcast_to(x_0 / 8, X.shape))
    assert_makes_x_t(dynamic, T > 0)


def test_thresholds_are_each_sample_s_own():
    def scaled(x_t, t):
        return Prediction(jnp.arange(1.0, 7.0)[:, None] * jnp.ones_like(x_t), x_t)

    prediction = denoisers.thresholded(scaled, SCHEDULE, percentile=100.0)(X, 0.5)
    np.testing.assert_allclose(prediction.x_0, 1.0)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_an_exact_classifier_gives_the_exact_conditional_denoiser(t):
    """Of a mixture, log p(k | x_t) by the densities of its components; guidance of scale 1 leaves component k."""
    means, stds, weights = np.array([[1.0, 0.5], [-0.7, 0.2]]), np.array([0.4, 0.6]), np.array([0.3, 0.7])
    both = denoisers.gaussian_mixture(SCHEDULE, weights, means, stds)
    alone = [denoisers.gaussian_mixture(SCHEDULE, [1.0], means[k : k + 1], stds[k : k + 1]) for k in (0, 1)]

    def log_probability(x, t):
        return jnp.log(weights[0]) + alone[0].log_density(x, t) - both.log_density(x, t)

    x = jnp.asarray(RNG.normal(size=(5, 2)), jnp.float32)
    by = {scale: denoisers.classifier_guided(both, SCHEDULE, log_probability, scale) for scale in (1.0, 2.0)}
    guided, twice, exact, plain = jax.jit(lambda x: [of(x, t) for of in (by[1.0], by[2.0], alone[0], both)])(x)
    for ours, expected in zip(guided[:2], exact[:2], strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-5)
    np.testing.assert_allclose(twice.eps - guided.eps, guided.eps - plain.eps, atol=2e-5)


def test_pure_noise_is_not_moved():
    guided = denoisers.classifier_guided(fixed(0.5), SCHEDULE, lambda x, t: x.sum(-1))(X, 1.0)
    np.testing.assert_array_equal(guided.x_0, 0.5)


def test_cfg_plus_plus_takes_eps_from_the_unconditional():
    """arXiv:2406.08070, algorithm 2."""
    x_0, eps, _ = denoisers.cfg_plus_plus(fixed(1.0, -2.0), fixed(0.5, 1.0), 0.6)(X, T)
    np.testing.assert_allclose(x_0, 0.5 + 0.6 * 0.5)
    np.testing.assert_array_equal(eps, 1.0)


def test_rescaled_guidance_has_the_conditional_s_deviation():
    """arXiv:2305.08891, eq. 15 and 16."""
    conditional, unconditional = fixed([0.0, 1.0, 2.0, 3.0]), fixed([0.5, 0.5, 0.0, 1.0])
    guided = denoisers.classifier_free(conditional, unconditional, 4.0)
    plain = np.asarray(guided(X, T).x_0)
    ratio = np.std([0.0, 1.0, 2.0, 3.0]) / plain.std(1, keepdims=True)
    for factor in (0.0, 0.7, 1.0):
        prediction = denoisers.rescaled(conditional, unconditional, SCHEDULE, 4.0, factor=factor)(X, T)
        np.testing.assert_allclose(prediction.x_0, (factor * ratio + 1 - factor) * plain, rtol=1e-5)
        assert_makes_x_t(prediction, T > 0)


def test_rescaled_guidance_has_an_interval():
    conditional, unconditional = fixed([0.0, 1.0, 2.0, 3.0]), fixed([0.5, 0.5, 0.0, 1.0])
    within = denoisers.rescaled(conditional, unconditional, SCHEDULE, 4.0, interval=(0.2, 0.4))
    np.testing.assert_array_equal(within(X, 0.5).x_0, conditional(X, 0.5).x_0)
    everywhere = denoisers.rescaled(conditional, unconditional, SCHEDULE, 4.0)
    np.testing.assert_array_equal(within(X, 0.3).x_0, everywhere(X, 0.3).x_0)


def test_they_are_pytrees_whose_numbers_do_not_retrace():
    traces = []

    @jax.jit
    def call(denoiser, x):
        traces.append(1)
        return denoiser(x, 0.5).x_0

    mixture = denoisers.gaussian_mixture(SCHEDULE, [1.0], [[0.0, 1.0]], [0.5])
    for limit in (0.5, 1.0):
        call(denoisers.thresholded(mixture, SCHEDULE, limit=limit), X[:, :2])
    for factor in (0.5, 1.0):
        call(denoisers.rescaled(mixture, mixture, SCHEDULE, 2.0 * factor, factor=factor), X[:, :2])
    assert len(traces) == 2
