"""Half-precision states: samplers compute in float32 whatever they are given; the truth is NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import denoisers, samplers, schedules
from diffax.samplers.reference import reference_run
from diffax.typing import Prediction

HALVES = ("bfloat16", "float16")
COSINE = schedules.Cosine()
TABLE = samplers.ddim(COSINE, samplers.grids.uniform(250))
KEYS = jax.random.split(jax.random.key(0), 16)
STD = 0.5


def exact(x, t):
    """(x_0, eps) for Gaussian data of standard deviation STD, in float64."""
    alpha, sigma = np.cos(np.pi / 2 * t), np.sin(np.pi / 2 * t)
    variance = (alpha * STD) ** 2 + sigma**2
    return alpha * STD**2 * x / variance, sigma * x / variance


def gaussian(x, t):
    return denoisers.gaussian_mixture(COSINE, [1.0], [[0.0, 0.0]], [STD])(x, t)


def start(dtype):
    return jnp.asarray(np.random.default_rng(0).standard_normal((16, 2)), dtype)


@pytest.mark.parametrize("dtype", HALVES)
def test_250_steps_of_ddim_are_as_good_as_from_float32(dtype):
    x = start(dtype)
    result = samplers.run(None, gaussian, TABLE, x)
    assert result.dtype == jnp.float32
    expected = reference_run(exact, TABLE, np.asarray(x, np.float64), None)[-1]
    np.testing.assert_allclose(result, expected, atol=1e-4)
    np.testing.assert_allclose(result, samplers.run(None, gaussian, TABLE, x.astype(jnp.float32)), atol=1e-6)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_denoiser_may_answer_in_half_precision(dtype):
    """As a network of another library that computes in half precision; it is called with float32."""
    seen = []

    def rounded(x, t):
        seen.append((x.dtype, t.dtype))
        return Prediction(*(half.astype(dtype) for half in gaussian(x, t)[:2]))

    table = samplers.unipc(COSINE, samplers.grids.uniform(20))
    result, saved = samplers.run(KEYS, rounded, table, start(dtype), save_every=5)
    assert result.dtype == saved.dtype == jnp.float32 and seen == [(jnp.float32, jnp.float32)]
    expected = reference_run(exact, table, np.asarray(start(dtype), np.float64), None)[-1]
    np.testing.assert_allclose(result, expected, atol=0.02)  # bfloat16 rounds predictions by 0.004


def test_langevin_and_its_kin_in_half_precision():
    x, times = start("bfloat16"), [0.9, 0.5, 0.1]
    wide = x.astype(jnp.float32)

    def both(function):
        return function(x), function(wide)

    pairs = (
        both(lambda x: samplers.langevin(KEYS, lambda x: -x, x, step_size=1e-3, num_steps=200)),
        both(
            lambda x: samplers.annealed_langevin(
                KEYS, gaussian, COSINE, x, times, step_size=1e-2, steps_per_time=20, denoise=False
            )
        ),
        both(
            lambda x: samplers.predictor_corrector(
                KEYS, gaussian, COSINE, samplers.ddpm(COSINE, samplers.grids.uniform(20)), x
            )
        ),
        both(lambda x: samplers.invert(gaussian, COSINE, x, np.linspace(0, 0.9, 20)).x),
        both(lambda x: samplers.probability_flow(gaussian, COSINE, x).x),
        both(lambda x: samplers.lerp(x, x[::-1], 0.3)),
    )
    for narrow, expected in pairs:
        assert narrow.dtype == jnp.float32
        np.testing.assert_allclose(narrow, expected, rtol=1e-6, atol=1e-6)


def test_slerp_of_large_images_in_half_precision():
    x, y = (np.random.default_rng(seed).standard_normal((1, 128, 128, 4)).astype(np.float16) for seed in (0, 1))
    wide = [value.astype(np.float64).ravel() for value in (x, y)]
    norms = [np.linalg.norm(value) for value in wide]
    angle = np.arccos(wide[0] @ wide[1] / np.prod(norms))
    weights = [np.sin(share * angle) / np.sin(angle) for share in (0.7, 0.3)]
    size = 0.7 * norms[0] + 0.3 * norms[1]
    expected = size * sum(weight * value / norm for weight, value, norm in zip(weights, wide, norms, strict=True))
    result = samplers.slerp(jnp.asarray(x), jnp.asarray(y), 0.3)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result.ravel(), expected, atol=1e-4)


def test_the_gradient_of_slerp_at_equal_vectors_is_that_of_a_straight_line():
    x = jnp.asarray([[1.0, 2.0, -2.0], [0.0, 0.0, 3.0]])
    direction = jnp.asarray([[0.5, -1.0, 2.0], [1.0, 1.0, 1.0]])
    gradients = jax.grad(lambda x, y: (direction * samplers.slerp(x, y, 0.3)).sum(), argnums=(0, 1))(x, x)
    np.testing.assert_allclose(gradients[0], 0.7 * direction, rtol=1e-6)
    np.testing.assert_allclose(gradients[1], 0.3 * direction, rtol=1e-6)
    for other in (-x, jnp.zeros_like(x)):
        assert np.isfinite(jax.grad(lambda x, y: samplers.slerp(x, y, 0.3).sum(), argnums=(0, 1))(x, other)).all()


def test_integers_and_legacy_keys_are_refused_in_one_line(unchecked):
    table, legacy = samplers.ddpm(COSINE, samplers.grids.uniform(4)), jax.random.split(jax.random.PRNGKey(0), 16)
    integers, wanted = jnp.ones((16, 2), jnp.int32), start(jnp.float32)
    for refused in (
        lambda: samplers.run(KEYS, gaussian, table, integers),
        lambda: samplers.langevin(KEYS, lambda x: -x, integers, step_size=0.1, num_steps=1),
        lambda: samplers.slerp(integers, integers, 0.5),
    ):
        with pytest.raises(TypeError, match=r"^expected floating-point samples, .* got an array of int32; [^\n]*$"):
            refused()
    for refused in (
        lambda: samplers.run(legacy, gaussian, table, wanted),
        lambda: samplers.prior(legacy, table, (2,)),
        lambda: samplers.langevin(legacy, lambda x: -x, wanted, step_size=0.1, num_steps=1),
        lambda: samplers.run(jax.random.PRNGKey(0), gaussian, table, wanted[:2]),
    ):
        with pytest.raises(TypeError, match=r"^expected typed keys, .* got an array of uint32 [^\n]*PRNGKey$"):
            refused()
    with pytest.raises(ValueError, match=r"expected one key per sample, shape \(batch,\), got keys of shape \(\)"):
        samplers.prior(jax.random.key(0), table, (2,))
