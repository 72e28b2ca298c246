"""Packed parameters: any tree comes back as it was, and a network does not notice."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import arrays, networks
from diffax.runs import packing
from diffax.training.checkpoint import Checkpoints

TINY = dict(channels=8, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(4,), groups=4)


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Layer:
    weight: Any
    bias: Any
    activation: str = dataclasses.field(default="silu", metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Registered:
    """As other libraries register theirs."""

    layers: list[Layer]
    scale: Any


def numbers(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).standard_normal(shape), jnp.float32)


TREES = {
    "nested dicts": {"block": {"kernel": numbers(3, 2), "bias": numbers(2), "norm": {"scale": numbers(4)}}},
    "tuples and lists": ((numbers(3, 2), numbers(2)), [numbers(4), numbers(1, 1, 3)], numbers(7)),
    "dataclasses": Registered([Layer(numbers(3, 2), numbers(2)), Layer(numbers(2, 2), numbers(2), "relu")], numbers(3)),
    "no matrices": {"a": numbers(2), "b": (numbers(3), numbers())},
    "integers for keys": {1: {"kernel": numbers(2, 2)}, 0: numbers(3), 10: numbers(2)},
    "None and empty dicts": {"kernel": numbers(2, 2), "bias": numbers(2), "none": None, "empty": {}},
}


def assert_same(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), left, right))


@pytest.mark.parametrize("kind", TREES)
def test_round_trip(kind):
    """To the bit and with the same structure, eagerly and compiled; all matrices and one vector in between."""
    params = TREES[kind]
    packed = packing.pack(params)
    assert isinstance(packed, packing.Packed)
    assert_same(packing.unpack(packed), params)
    assert_same(jax.jit(lambda params: packing.unpack(packing.pack(params)))(params), params)
    leaves = jax.tree.leaves(params)
    matrices = [leaf for leaf in leaves if leaf.ndim > 1]
    assert sorted(leaf.shape for leaf in packed.matrices.values()) == sorted(leaf.shape for leaf in matrices)
    [vectors] = packed.vectors.values()
    assert vectors.shape == (sum(leaf.size for leaf in leaves if leaf.ndim <= 1),)
    assert len(jax.tree.leaves(packed)) == len(matrices) + 1 < len(leaves) + (kind == "None and empty dicts")


@pytest.mark.parametrize("kind", TREES)
def test_the_gradient_through_unpacking_is_that_of_the_plain_tree(kind):
    """Of sum_i c_i p_i^2 / 2 it is c_i p_i, with another c for every leaf; packing it gives the packed gradient."""
    params = TREES[kind]
    factors = jax.tree.unflatten(jax.tree.structure(params), np.arange(1.0, 1 + len(jax.tree.leaves(params))).tolist())

    def value(params):
        return sum(jax.tree.leaves(jax.tree.map(lambda c, p: c * jnp.sum(p**2) / 2, factors, packing.unpack(params))))

    expected = jax.tree.map(lambda c, p: c * p, factors, params)
    packed = jax.grad(value)(packing.pack(params))
    assert isinstance(packed, packing.Packed)
    for found in (jax.grad(value)(params), packing.unpack(packed)):
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
    assert jax.tree.structure(packed) == jax.tree.structure(packing.pack(expected))


@pytest.fixture(params=["mlp", "unet"])
def network(request):
    """(network, parameters that are all different from 0, x)"""
    if request.param == "mlp":
        module, shape = networks.MLP(hidden=8, depth=2), (2,)
    else:
        module, shape = networks.UNet(**TINY), (8, 8, 1)
    shapes = jax.eval_shape(lambda: networks.Linen(module).init(jax.random.key(0), shape))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32), shapes)
    return networks.Linen(module), params, jax.random.normal(jax.random.key(2), (3, *shape))


def test_a_network_and_its_gradient_are_the_same_by_either(network):
    apply, params, x = network
    t = jnp.linspace(0.1, 0.9, 3)

    @jax.jit
    def value_and_grad(params):
        return jax.value_and_grad(lambda params: (apply(packing.unpack(params), x, t) ** 2).mean())(params)

    value, grad = value_and_grad(params)
    packed_value, packed_grad = value_and_grad(packing.pack(params))
    np.testing.assert_allclose(packed_value, value, rtol=1e-6)
    for one, other in zip(jax.tree.leaves(packing.unpack(packed_grad)), jax.tree.leaves(grad), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6 * np.abs(other).max())


def test_two_thirds_of_the_arrays_of_the_unet_are_gone():
    """DDPM's for CIFAR-10; none of its numbers is."""
    params = jax.eval_shape(lambda: networks.Linen(networks.UNet()).init(jax.random.key(0), (32, 32, 3)))
    plain, packed = jax.tree.leaves(params), jax.tree.leaves(jax.eval_shape(packing.pack, params))
    assert len(packed) == 1 + sum(leaf.ndim > 1 for leaf in plain) < 0.36 * len(plain)
    assert sum(leaf.size for leaf in packed) == sum(leaf.size for leaf in plain) == 35_746_307


@pytest.mark.parametrize(
    "params",
    [
        {"a": jnp.zeros(3), "b": jnp.zeros(3, jnp.bfloat16), "kernel": jnp.zeros((2, 2))},
        {"a": jnp.zeros(3), "b": jnp.zeros(3, jnp.int32)},
        {"kernel": jnp.zeros((2, 2))},
        {},
        # Two leaves of one name.
        {"a/b": jnp.zeros(3), "a": {"b": jnp.ones(3)}},
    ],
)
def test_vectors_of_several_dtypes_or_none_stay_as_they_are(params):
    assert packing.pack(params) is params and packing.unpack(params) is params


def test_matrices_may_have_other_dtypes():
    params = {"bias": jnp.arange(3.0), "kernel": jnp.ones((2, 2), jnp.bfloat16)}
    packed = packing.pack(params)
    assert isinstance(packed, packing.Packed)
    assert_same(packing.unpack(packed), params)


def test_numbers_are_among_the_vectors():
    packed = packing.pack({"gain": jnp.float32(2.0), "layer": {"bias": jnp.arange(3.0), "kernel": jnp.zeros((2, 2))}})
    [vectors] = packed.vectors.values()
    assert vectors.tolist() == [2, 0, 1, 2]
    unpacked = packing.unpack(packed)
    assert unpacked["gain"].shape == () and unpacked["layer"]["bias"].tolist() == [0, 1, 2]


def test_the_order_in_which_parameters_are_made_does_not_matter():
    """Flax makes them in another order where blocks are rematerialized."""
    shapes = [
        jax.eval_shape(lambda m=m: packing.pack(networks.Linen(m).init(jax.random.key(0), (8, 8, 1))))
        for m in (networks.UNet(**TINY), networks.UNet(**TINY, remat="blocks"))
    ]
    assert shapes[0].layout == shapes[1].layout and jax.tree.structure(shapes[0]) == jax.tree.structure(shapes[1])


def test_other_layouts_have_other_names():
    """Equally many numbers each: of other lengths, names, depth or axes."""
    trees = (
        {"a": numbers(3), "b": numbers(2)},
        {"a": numbers(2), "b": numbers(3)},
        {"a": numbers(3), "c": numbers(2)},
        {"a": numbers(3), "b": {"b": numbers(2)}},
        {"a": numbers(4), "b": numbers(1)},
        {"a": numbers(4), "b": numbers()},
        {"c": numbers(5)},
    )
    assert len({name for tree in trees for name in packing.pack(tree).vectors}) == len(trees)
    again = [packing.pack(jax.tree.map(lambda leaf, i=i: leaf + i, trees[0])).vectors for i in range(2)]
    assert set(again[0]) == set(again[1])


@pytest.mark.parametrize("kind", ["nested dicts", "dataclasses"])
def test_checkpoints_hold_packed_parameters_and_refuse_another_layout(tmp_path, kind):
    packed = packing.pack(TREES[kind])
    moved = packing.pack({"elsewhere": TREES[kind]})
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"ema": {"0": packed, "1": jax.tree.map(jnp.zeros_like, packed)}, "params": packed})
        like = {"ema": {"0": jax.eval_shape(packing.pack, TREES[kind])}}
        restored = checkpoints.restore(1, like, partial=True)
        with pytest.raises(ValueError, match="does not fit: expected ema/0/matrices/elsewhere"):
            checkpoints.restore(1, {"ema": {"0": moved}}, partial=True)
    assert_same(packing.unpack(restored["ema"]["0"]), TREES[kind])
