import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.networks import blocks, upsampling


def test_pooling_and_nearest_neighbours():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(blocks.average_pool(x)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_array_equal(
        upsampling.nearest(x)[0, :, :, 0], np.kron(np.arange(16.0).reshape(4, 4), np.ones((2, 2)))
    )


def test_downsample_pads_after_as_ddpm_does():
    module = blocks.Downsample()
    x = np.arange(16.0).reshape(4, 4)
    params = {"conv": {"kernel": jnp.ones((3, 3, 1, 1)), "bias": jnp.zeros(1)}}
    got = module.apply({"params": params}, jnp.asarray(x.reshape(1, 4, 4, 1), jnp.float32))
    expected = [[x[i : i + 3, j : j + 3].sum() for j in (0, 2)] for i in (0, 2)]
    np.testing.assert_array_equal(got[0, :, :, 0], expected)


def test_upsample_is_nearest_then_a_3x3_convolution():
    module = blocks.Upsample()
    draw = np.random.default_rng(0)
    x, kernel = draw.standard_normal((3, 3)), draw.standard_normal((3, 3))
    params = {"conv": {"kernel": jnp.asarray(kernel.reshape(3, 3, 1, 1), jnp.float32), "bias": jnp.zeros(1)}}
    got = module.apply({"params": params}, jnp.asarray(x.reshape(1, 3, 3, 1), jnp.float32))
    padded = np.pad(np.kron(x, np.ones((2, 2))), 1)
    expected = [[np.sum(kernel * padded[i : i + 3, j : j + 3]) for j in range(6)] for i in range(6)]
    np.testing.assert_allclose(got[0, :, :, 0], expected, atol=1e-5)


@pytest.mark.parametrize("resample", [None, blocks.average_pool])
def test_a_residual_block_starts_as_its_shortcut(resample, jit):
    x = jax.random.normal(jax.random.key(1), (2, 4, 4, 8))
    module = blocks.ResidualBlock(8, layer=0, groups=2, resample=resample)
    emb = jnp.ones((2, 3))
    shapes = jax.eval_shape(module.init, jax.random.key(0), x, emb)["params"]
    conv_2 = jit(lambda key: module.init(key, x, emb)["params"]["conv_2"])(jax.random.key(0))
    params = {**jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.3), shapes), "conv_2": conv_2}
    got = jit(module.apply)({"params": params}, x, emb)
    np.testing.assert_allclose(got, x if resample is None else resample(x), rtol=1e-6)


def _block(jit, scale_shift, scale):
    """Both convolutions copy the centre; emb (1) brings `scale` as shift, or 1 + scale as factor."""
    centre = jnp.zeros((3, 3, 4, 4)).at[1, 1].set(jnp.eye(4))
    conv = {"kernel": centre, "bias": jnp.zeros(4)}
    norm = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
    condition = jnp.array([[scale] * 4 + [0.0] * 4]) if scale_shift else jnp.array([[0.0, 0.0, 0.0, scale]])
    dense = {"kernel": condition, "bias": jnp.zeros(condition.shape[1])}
    params = {"norm_1": norm, "norm_2": norm, "conv_1": conv, "conv_2": conv, "condition": dense}
    module = blocks.ResidualBlock(4, layer=0, groups=1, scale_shift=scale_shift)
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 4))
    return x, jit(module.apply)({"params": params}, jnp.asarray(x, jnp.float32), jnp.ones((1, 1)))


def _silu(h):
    return h / (1 + np.exp(-h))


def _norm(h):
    return (h - h.mean()) / np.sqrt(h.var() + 1e-6)


def test_the_condition_is_added_before_the_second_norm(jit):
    x, got = _block(jit, False, 3.0)
    h = _silu(_norm(x)) + np.array([0.0, 0.0, 0.0, 3.0])
    np.testing.assert_allclose(got, x + _silu(_norm(h)), atol=1e-5)


def test_the_condition_scales_and_shifts_after_the_second_norm(jit):
    x, got = _block(jit, True, 0.7)
    np.testing.assert_allclose(got, x + _silu(1.7 * _norm(_silu(_norm(x)))), atol=1e-5)
