import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.networks import layers


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_flaxs(jit, stride):
    """Parameters, by name and value, and results."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 3)), jnp.float32)
    flaxs = nn.Conv(5, (3, 3), strides=stride, padding="SAME", kernel_init=layers.fan_avg_uniform)
    modules = (layers.Conv3x3(5, stride=stride), flaxs)
    ours, theirs = (jit(lambda module=module: module.init(jax.random.key(1), x))() for module in modules)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    params = {"params": {**ours["params"], "bias": jnp.arange(5.0)}}
    ours, theirs = (jit(module.apply)(params, x) for module in modules)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def test_a_bias_apart_is_what_is_missing(jit):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 4, 3)), jnp.float32)
    module = layers.Conv3x3(5, upsample=True)
    params = jit(lambda: module.init(jax.random.key(1), x))()
    params = {"params": {**params["params"], "bias": jnp.arange(5.0)}}
    whole = jit(module.apply)(params, x)
    convolved, bias = jit(lambda params, x: module.apply(params, x, method="apart"))(params, x)
    assert whole.shape == (2, 8, 8, 5)
    np.testing.assert_array_equal(bias, np.arange(5.0))
    np.testing.assert_allclose(whole, np.asarray(convolved) + np.arange(5.0, dtype=np.float32), rtol=1e-6, atol=1e-6)
