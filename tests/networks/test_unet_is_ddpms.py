"""The UNet's outputs and gradients are those of diffusers' UNet2DModel with the same weights.

The goldens were written by tests/peers/diffusers_unet.py; goldens/unet.json says with which versions. In float64.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import networks
from tests.peers.diffusers_unet import GOLDENS, LAYOUTS, inputs, shapes_of, summary
from tests.peers.unet_weights import leaves

STORED = np.load(GOLDENS.with_suffix(".npz"))
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def ours(name, given):
    """Our output, its gradient in x, and that in the parameters."""
    network = networks.Linen(LAYOUTS[name])
    condition = None if given.label is None else {"label": jnp.asarray(given.label)}

    @quick_jit
    def run(params, x, time):
        def weighted(params, x):
            out = network(params, x, time, condition)
            return (out * given.weights).sum(), out

        (x_grad, grads), out = jax.grad(lambda x, params: weighted(params, x), (0, 1), has_aux=True)(x, params)
        return out, x_grad, grads

    out, x_grad, grads = run(jax.tree.map(jnp.asarray, given.params), jnp.asarray(given.x), jnp.asarray(given.time))
    return np.asarray(out), np.asarray(x_grad), jax.tree.map(np.asarray, grads)


@pytest.mark.parametrize("name", LAYOUTS)
def test_outputs_and_gradients(x64, name):
    given = inputs(name, shapes_of(LAYOUTS[name]))
    checksum = sum(np.abs(leaf).sum() for _, leaf in leaves(given.params))
    np.testing.assert_allclose(checksum, STORED[f"{name}/checksum"], rtol=1e-12, err_msg="other numbers were drawn")
    out, x_grad, grads = ours(name, given)
    assert out.dtype == np.float64
    expected = STORED[f"{name}/out"]
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    expected = STORED[f"{name}/x_grad"]
    np.testing.assert_allclose(x_grad, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    norms, products = summary(grads, given)
    np.testing.assert_allclose(norms, STORED[f"{name}/norms"], rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(products, STORED[f"{name}/products"], rtol=1e-4, atol=1e-4 * norms.mean())
