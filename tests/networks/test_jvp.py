"""Derivatives of networks along a direction in x, the time and the span: what losses of flow maps are made of."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import networks, sharding
from diffax.conditions import SPAN, Number

ROOT = pathlib.Path(__file__).parents[2]
SMALL = dict(channels=32, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=(), groups=4)
KINDS = {SPAN: Number()}
CASES = {
    "mlp": (networks.MLP(hidden=64, depth=1, dtype="float64", conditions=KINDS), (2,)),
    "unet": (networks.UNet(**SMALL, dtype="float64", conditions=KINDS), (4, 4, 1)),
    "checkpointed": (networks.UNet(**SMALL, dtype="float64", conditions=KINDS, remat="blocks"), (4, 4, 1)),
}


def compare(name, mesh=None):
    """The jvp of a network in float64 with parameters that are not zero, against central differences.

    The batch and the parameters are split over a mesh as in training.
    """
    module, shape = CASES[name]
    network, rng = networks.as_network(module), np.random.default_rng(1)
    shapes = jax.eval_shape(lambda key: network.init(key, shape), jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape)), shapes)
    # Times as networks get them, 999 t, and spans t - s, with 0 among them. Along a trajectory dt = 1.
    point = (
        rng.standard_normal((8, *shape)),
        np.linspace(99.9, 999.0, 8),
        np.array([0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0]),
    )
    direction = (rng.standard_normal((8, *shape)), np.full(8, 999.0), np.ones(8))
    if mesh is not None:
        placed = sharding.placed(mesh, shapes)
        params = jax.tree.map(lambda leaf, like: jax.device_put(leaf, like.sharding), params, placed)
        assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(params))
        point, direction = jax.device_put((point, direction), sharding.batch_sharding(mesh))

    def function(params, x, time, span):
        return network(params, x, time, {SPAN: span})

    @jax.jit
    def derivative(params, point, direction):
        return jax.jvp(lambda *point: function(params, *point), point, direction)[1]

    exact, evaluate = derivative(params, jax.tree.map(jnp.asarray, point), direction), jax.jit(function)
    h = 1e-6  # the time input has an angular frequency of 999 in t
    ahead, behind = (
        evaluate(params, *(p + sign * h * d for p, d in zip(point, direction, strict=True))) for sign in (1, -1)
    )
    differences = (np.asarray(ahead) - np.asarray(behind)) / (2 * h)
    size = np.abs(differences).max()
    assert size > 1
    np.testing.assert_allclose(exact, differences, rtol=1e-5, atol=1e-5 * size)


@pytest.mark.parametrize("name", ["mlp", "unet"])
def test_the_jvp_is_that_of_finite_differences(name, x64):
    compare(name)


FSDP = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)
from diffax import sharding
from tests.networks import test_jvp
test_jvp.compare("checkpointed", sharding.make_mesh(fsdp=4))
"""


def test_the_jvp_with_gradient_checkpointing_and_fsdp_is_too():
    """Eight devices of one process, each with a quarter of the matrices."""
    process = subprocess.run([sys.executable, "-c", FSDP], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
