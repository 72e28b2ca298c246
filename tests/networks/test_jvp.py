"""Derivatives of networks along a direction in x, the time and the span: what losses of flow maps are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import networks, sharding
from diffax.conditions import SPAN, Number

SMALL = dict(channels=16, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(2,), groups=4)
MODULES = {
    "mlp": lambda **more: networks.MLP(hidden=64, depth=1, dtype="float64", conditions={SPAN: Number()}),
    "unet": lambda remat="none": networks.UNet(**SMALL, dtype="float64", conditions={SPAN: Number()}, remat=remat),
}


def function_of(name, **options):
    """(function(params, x, time, span), params, x): a network in float64 whose parameters are not zero."""
    network = networks.as_network(MODULES[name](**options))
    shape = (4, 4, 1) if name == "unet" else (2,)
    shapes = jax.eval_shape(lambda key: network.init(key, shape), jax.random.key(0))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape)), shapes)
    x = jnp.asarray(rng.standard_normal((8, *shape)))
    return lambda params, x, time, span: network(params, x, time, {SPAN: span}), params, x


def point_and_direction(x):
    """Times as the networks get them, 999 t, and spans t - s, with 0 among them; and a direction for each."""
    rng = np.random.default_rng(2)
    time, span = jnp.linspace(99.9, 999.0, 8), jnp.asarray([0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.0])
    # Along a trajectory dt = 1: the time input grows by 999.
    return (x, time, span), (jnp.asarray(rng.standard_normal(x.shape)), jnp.full(8, 999.0), jnp.ones(8))


def derivatives(function, params, point, direction):
    """By jax.jvp, and by central differences of fourth order."""

    def moved(h):
        return function(params, *(p + h * d for p, d in zip(point, direction, strict=True)))

    exact = jax.jvp(lambda *point: function(params, *point), point, direction)[1]
    h = 1e-4
    differences = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
    return exact, differences


@pytest.mark.parametrize(("name", "options"), [("mlp", {}), ("unet", {}), ("unet", {"remat": "products"})])
def test_the_jvp_is_that_of_finite_differences(name, options, x64):
    function, params, x = function_of(name, **options)
    exact, differences = jax.jit(derivatives, static_argnums=0)(function, params, *point_and_direction(x))
    assert float(jnp.abs(exact).max()) > 1
    np.testing.assert_allclose(exact, differences, rtol=1e-5, atol=1e-5 * float(jnp.abs(exact).max()))
