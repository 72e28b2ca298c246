import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import networks
from diffax.networks import packed

TINY = dict(channels=8, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(4,), groups=4)


@pytest.fixture(params=["mlp", "unet"])
def network(request):
    """(module, parameters that are all different from 0, x)"""
    if request.param == "mlp":
        module, shape = networks.MLP(hidden=8, depth=2), (2,)
    else:
        module, shape = networks.UNet(**TINY), (8, 8, 1)
    drawn = networks.init_params(module, jax.random.key(0), shape)
    leaves, tree = jax.tree.flatten(drawn)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return module, jax.tree.unflatten(tree, drawn), jax.random.normal(jax.random.key(2), (3, *shape))


def test_what_was_packed_is_unpacked(network):
    _, params, _ = network
    made = packed.pack(params)
    unpacked = made.unpack()
    assert jax.tree.structure(unpacked) == jax.tree.structure(params)
    assert jax.tree.all(jax.tree.map(np.array_equal, unpacked, params))
    [vectors] = made.vectors.values()
    assert all(leaf.ndim > 1 for leaf in jax.tree.leaves(made.kernels)) and vectors.ndim == 1
    assert sum(leaf.size for leaf in jax.tree.leaves(made)) == sum(leaf.size for leaf in jax.tree.leaves(params))


def test_a_network_and_its_gradient_are_the_same_by_either(network):
    module, params, x = network
    apply, t = networks.apply_fn(module), jnp.linspace(0.1, 0.9, 3)

    @jax.jit
    def value_and_grad(params):
        return jax.value_and_grad(lambda params: (apply(params, x, t) ** 2).mean())(params)

    value, grad = value_and_grad(params)
    packed_value, packed_grad = value_and_grad(packed.pack(params))
    np.testing.assert_allclose(packed_value, value, rtol=1e-6)
    for one, other in zip(jax.tree.leaves(packed_grad.unpack()), jax.tree.leaves(grad), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6 * np.abs(other).max())


def test_vectors_of_several_dtypes_or_none_stay_as_they_are():
    for params in (
        {"a": jnp.zeros(3), "b": jnp.zeros(3, jnp.bfloat16), "kernel": jnp.zeros((2, 2))},
        {"kernel": jnp.zeros((2, 2))},
    ):
        assert packed.pack(params) is params and packed.unpack(params) is params


def test_numbers_are_among_the_vectors():
    made = packed.pack({"gain": jnp.float32(2.0), "layer": {"bias": jnp.arange(3.0), "kernel": jnp.zeros((2, 2))}})
    [vectors] = made.vectors.values()
    assert vectors.tolist() == [2, 0, 1, 2]
    assert made.unpack()["gain"].shape == () and made.unpack()["layer"]["bias"].tolist() == [0, 1, 2]


def test_the_order_in_which_parameters_are_made_does_not_matter():
    """Where blocks are rematerialised Flax makes them in another."""
    shapes = [
        jax.eval_shape(lambda m=m: packed.pack(networks.init_params(m, jax.random.key(0), (8, 8, 1))))
        for m in (networks.UNet(**TINY), networks.UNet(**TINY, remat=networks.remat.nothing))
    ]
    assert shapes[0].layout == shapes[1].layout and jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])


def test_other_layouts_have_other_names():
    names = set()
    for lengths in ({"a": 3, "b": 2}, {"a": 2, "b": 3}, {"c": 5}):
        names |= set(packed.pack({name: jnp.zeros(length) for name, length in lengths.items()}).vectors)
    assert len(names) == 3
