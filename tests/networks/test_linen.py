"""Linen modules, and networks of any other kind, as the Network protocol."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import networks
from diffax.conditions import Classes, Vector
from diffax.typing import Network


class Partitioned(nn.Module):
    """A dense layer whose kernel is annotated with mesh axes; it declares no conditions."""

    @nn.compact
    def __call__(self, x, time_input, condition=None, *, keys=None):
        kernel_init = nn.with_partitioning(nn.initializers.ones, ("in", "out"))
        shift = 0.0 if condition is None else condition["context"]
        return nn.Dense(x.shape[-1], kernel_init=kernel_init)(x) + time_input[:, None] + shift


class Doubling:
    """A network of no library."""

    conditions: ClassVar[dict] = {"label": Classes(5)}

    def init(self, key, sample_shape):
        return {"w": jnp.full(sample_shape, 2.0)}

    def __call__(self, params, x, time_input, condition=None, *, key=None):
        return params["w"][None] * x


def test_a_module_becomes_a_network_of_plain_parameters():
    network = networks.as_network(Partitioned())
    assert network == networks.Linen(Partitioned()) and isinstance(network, Network)
    params = network.init(jax.random.key(0), (3,))
    assert {type(leaf) for leaf in jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, nn.Partitioned))} == {
        type(jnp.zeros(1))
    }
    x, time = jnp.arange(6.0).reshape(2, 3), jnp.array([10.0, 20.0])
    expected = np.array([[13.0] * 3, [32.0] * 3])  # the sums 3 and 12 of the rows
    np.testing.assert_allclose(network(params, x, time), expected)
    np.testing.assert_allclose(network(params, x, time, {"context": jnp.ones((2, 3))}), expected + 1)


def test_the_conditions_are_the_modules():
    kinds = {"label": Classes(3), "text": Vector(4)}
    network = networks.Linen(networks.MLP(conditions=kinds))
    assert dict(network.conditions) == kinds
    assert networks.Linen(networks.MLP(conditions=dict(reversed(kinds.items())))) == network
    assert hash(networks.Linen(networks.MLP(conditions=dict(kinds)))) == hash(network)
    assert networks.Linen(Partitioned()).conditions == {}


def test_keys_reach_the_module(jit):
    network = networks.Linen(networks.MLP(hidden=8, depth=1, dropout=0.5))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), (2,)))
    params = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.3), shapes)
    apply, x = jit(network), jnp.ones((3, 2))
    out = [apply(params, x, jnp.ones(3), key=jax.random.split(jax.random.key(seed), 3)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(out[0], out[1])
    assert np.any(out[0] != out[2])


def test_a_network_of_another_library_is_used_as_it_is():
    network = Doubling()
    assert networks.as_network(network) is network
    params = network.init(jax.random.key(0), (2,))
    np.testing.assert_array_equal(networks.as_network(network)(params, jnp.ones((1, 2)), jnp.ones(1)), [[2.0, 2.0]])


def without(name):
    members = {member: value for member, value in vars(Doubling).items() if not member.startswith("__")}
    members |= {"__call__": Doubling.__call__}
    return type("Half", (), {member: value for member, value in members.items() if member != name})()


@pytest.mark.parametrize("name", ["init", "conditions", "__call__"])
def test_what_is_missing_is_named(name):
    with pytest.raises(ValueError, match=f"the network 'Half' has no {name}: it must be a Flax Linen module or"):
        networks.as_network(without(name))
    with pytest.raises(ValueError, match=f"the network 'my_project:Half' has no {name}"):
        networks.as_network(without(name), "my_project:Half")
