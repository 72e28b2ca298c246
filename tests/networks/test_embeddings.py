import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.conditions import Classes, Vector, complete
from diffax.networks import embeddings


def test_sinusoidal_against_numpy():
    times = np.array([0.0, 1.0, 17.0, 999.0, -3.5])
    half, expected = 16, np.zeros((5, 32))
    for i in range(half):
        frequency = 10_000.0 ** (-i / (half - 1))
        expected[:, i] = np.sin(times * frequency)
        expected[:, half + i] = np.cos(times * frequency)
    got = embeddings.sinusoidal(jnp.asarray(times, jnp.float32), 32)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_sinusoidal_wavelengths_end_at_two_pi_and_at_the_longest():
    got = embeddings.sinusoidal(jnp.array([2 * np.pi, 200 * np.pi], jnp.float32), 8, max_period=100.0)
    np.testing.assert_allclose(got[0, [0, 4]], [0.0, 1.0], atol=1e-5)
    np.testing.assert_allclose(got[1, [3, 7]], [0.0, 1.0], atol=1e-4)


def test_sinusoidal_keeps_float64_and_widens_bfloat16(x64):
    assert embeddings.sinusoidal(jnp.ones(2, jnp.float64), 8).dtype == jnp.float64
    assert embeddings.sinusoidal(jnp.ones(2, jnp.bfloat16), 8).dtype == jnp.float32


def test_fourier_frequencies_are_half_normal_quantiles():
    # dim 6 has levels 1/6, 3/6, 5/6 of |N(0, 1)|: table values of the normal quantiles at 7/12, 3/4 and 11/12.
    frequencies = 3.0 * np.array([0.2104284, 0.6744898, 1.3829941])
    time = 0.13
    expected = np.concatenate([np.sin(2 * np.pi * frequencies * time), np.cos(2 * np.pi * frequencies * time)])
    got = embeddings.FourierFeatures(std=3.0)(jnp.array([time], jnp.float32), 6)
    np.testing.assert_allclose(got[0], expected, atol=1e-5)


def test_condition_embedding_against_numpy(jit):
    module = embeddings.ConditionEmbedding(
        width=5,
        time_features=embeddings.SinusoidalFeatures(),
        num_features=4,
        conditions={"label": Classes(3), "context": Vector(2)},
    )
    time = jnp.array([0.0, 2.0])
    null = complete(None, module.conditions, 2)
    params = jit(module.init)(jax.random.key(0), time, null)["params"]
    assert params["label"]["embedding"].shape == (4, 5)
    assert set(params["context"]) == {"kernel"}
    label, context = jnp.array([3, 1]), jnp.array([[0.0, 0.0], [1.5, -1.0]])
    got = jit(module.apply)({"params": params}, time, {"label": label, "context": context})

    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    silu = lambda h: h / (1 + np.exp(-h))  # noqa: E731
    angles = np.outer([0.0, 2.0], [1.0, 1e-4])
    h = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    h = silu(h @ p["time_1"]["kernel"] + p["time_1"]["bias"]) @ p["time_2"]["kernel"] + p["time_2"]["bias"]
    h = h + p["label"]["embedding"][[3, 1]] + np.asarray(context) @ p["context"]["kernel"]
    np.testing.assert_allclose(got, silu(h), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [2, 7])
def test_unfit_dim_is_refused(dim):
    with pytest.raises(ValueError, match=f"even and at least 4, got {dim}"):
        embeddings.sinusoidal(jnp.ones(1), dim)
    with pytest.raises(ValueError, match=f"even and at least 4, got {dim}"):
        embeddings.FourierFeatures()(jnp.ones(1), dim)


def test_unfit_times_are_refused():
    with pytest.raises(ValueError, match=r"time_input must have shape \(4,\), one time per sample, got \(\)"):
        embeddings.check_time_input(jnp.ones(()), 4)
