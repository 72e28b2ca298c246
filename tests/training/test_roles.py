"""Roles of parameters by their paths, for the networks of diffax and for trees of other libraries."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from diffax import arrays, networks
from diffax.conditions import Classes, Vector
from diffax.runs import packing
from diffax.training import roles
from diffax.training.roles import Role

MLP = networks.MLP(hidden=8, depth=1, conditions={"label": Classes(3), "context": Vector(2)})
# Every kind of layer: shortcuts, attention, both ways of resampling, labels and contexts.
SMALL = dict(channels=8, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(4,), groups=4)
UNETS = (
    networks.UNet(**SMALL, conditions={"label": Classes(3), "context": Vector(2)}, scale_shift=True),
    networks.UNet(**SMALL, resblock_updown=True, remat="blocks"),
)


def shapes_of(module, sample_shape):
    return jax.eval_shape(lambda key: networks.Linen(module).init(key, sample_shape), jax.random.key(0))


def by_path(params):
    """'first/kernel' -> its role."""
    leaves = jax.tree_util.tree_leaves_with_path(roles.roles(params))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): role for path, role in leaves}


def test_every_parameter_of_the_mlp():
    assert by_path(shapes_of(MLP, (2,))) == {
        "embedding/context/kernel": Role.EMBEDDING,
        "embedding/label/embedding": Role.EMBEDDING,
        "embedding/time_1/bias": Role.VECTOR,
        "embedding/time_1/kernel": Role.EMBEDDING,
        "embedding/time_2/bias": Role.VECTOR,
        "embedding/time_2/kernel": Role.EMBEDDING,
        "first/bias": Role.VECTOR,
        "first/kernel": Role.END,
        "last/bias": Role.VECTOR,
        "last/kernel": Role.END,
        "layer_0_1/bias": Role.VECTOR,
        "layer_0_1/kernel": Role.MATRIX,
        "layer_0_2/bias": Role.VECTOR,
        "layer_0_2/kernel": Role.MATRIX,
        "layer_0_condition/kernel": Role.MATRIX,
    }


@pytest.mark.parametrize("module", UNETS)
def test_every_parameter_of_the_unet(module):
    found = by_path(shapes_of(module, (8, 8, 1)))
    left = dict(found)

    def take(chosen):
        return {path: left.pop(path) for path in list(left) if chosen(path.split("/"))}

    assert set(take(lambda path: path[-1] in ("bias", "scale")).values()) == {Role.VECTOR}
    assert set(take(lambda path: path[0] == "embedding").values()) == {Role.EMBEDDING}
    assert take(lambda path: path[0] in ("first", "last")) == {"first/kernel": Role.END, "last/kernel": Role.END}
    assert set(left.values()) == {Role.MATRIX} and all(path.endswith("/kernel") for path in left)
    # Some that names alone might mislead about: the last layer's norm, attention's output, a block's condition.
    assert found["last_norm/scale"] == Role.VECTOR
    assert found["middle_attention/out/kernel"] == found["middle_1/condition/kernel"] == Role.MATRIX
    assert found["up_0_0/shortcut/kernel"] == Role.MATRIX
    assert ("embedding/label/embedding" in found) == bool(module.conditions)


@pytest.mark.parametrize(("module", "sample_shape"), [(MLP, (2,)), (UNETS[0], (8, 8, 1))])
def test_packed_parameters_have_the_roles_of_the_plain_ones(module, sample_shape):
    """A run trains packed parameters, whose matrices have whole paths for names."""
    params = shapes_of(module, sample_shape)
    packed = roles.roles(jax.eval_shape(packing.pack, params))
    plain = by_path(params)
    assert packed.matrices == {path: plain[path] for path in packed.matrices}
    assert set(packed.vectors.values()) == {Role.VECTOR}
    assert set(plain.values()) == {*packed.matrices.values(), Role.VECTOR} == set(Role)


def test_vectors_of_a_stack_of_layers_have_two_axes():
    """Under scan or vmap over layers every parameter has an axis more."""
    stacked = {"blocks": {"dense": {"kernel": jnp.zeros((4, 3, 3)), "bias": jnp.zeros((4, 3))}}}
    stacked["blocks"]["norm"] = {"scale": jnp.zeros((4, 3)), "Bias": jnp.zeros((4, 3))}
    expected = {"blocks/dense/kernel": Role.MATRIX, "blocks/dense/bias": Role.VECTOR}
    expected |= {"blocks/norm/scale": Role.VECTOR, "blocks/norm/Bias": Role.VECTOR}
    assert by_path(stacked) == expected
    packed = roles.roles(packing.pack({**stacked, "gain": jnp.zeros(())}))
    assert packed.matrices == expected


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Linear:
    weight: Any
    bias: Any


@arrays.register_pytree
@dataclasses.dataclass(frozen=True)
class Model:
    """As Equinox has modules: attributes, and layers in a list or a tuple."""

    conv_in: Linear
    label_embed: Any
    layers: list[Linear]


def test_attributes_and_indices():
    linear = Linear(jnp.zeros((3, 3)), jnp.zeros((3, 1, 1)))
    model = Model(linear, jnp.zeros((5, 3)), [linear, linear])
    paths = {jax.tree_util.keystr(path): path for path, _ in jax.tree_util.tree_leaves_with_path(model)}
    assert roles.names(paths[".layers[0].weight"]) == ("layers", "0", "weight")
    assert roles.roles(model) == Model(
        Linear(Role.END, Role.VECTOR), Role.EMBEDDING, 2 * [Linear(Role.MATRIX, Role.VECTOR)]
    )


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (jnp.zeros((2, 2)), Role.MATRIX),  # a tree that is one array
        (jnp.zeros(2), Role.VECTOR),
        ({"w": jnp.zeros((2, 2))}, {"w": Role.MATRIX}),
        ({"gain": jnp.zeros(())}, {"gain": Role.VECTOR}),
        ((jnp.zeros((2, 2)), jnp.zeros(2)), (Role.MATRIX, Role.VECTOR)),
        ({"Embed_0": {"table": jnp.zeros((2, 2))}}, {"Embed_0": {"table": Role.EMBEDDING}}),
        ({"patch_embedder": {"gamma": jnp.zeros((2, 2))}}, {"patch_embedder": {"gamma": Role.VECTOR}}),
        ({"conv_out": {"kernel": jnp.zeros((2, 2))}}, {"conv_out": {"kernel": Role.END}}),
        # Names that only begin like those of a first or last layer.
        ({"first_block": {"kernel": jnp.zeros((2, 2))}}, {"first_block": {"kernel": Role.MATRIX}}),
    ],
)
def test_plain_trees(params, expected):
    assert roles.roles(params) == expected
