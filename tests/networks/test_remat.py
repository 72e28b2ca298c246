"""Gradient checkpointing: every policy keeps less for the backward pass, and the gradient stays the same."""

import jax
import jax.numpy as jnp
import numpy as np

from diffax import networks
from diffax.conditions import Classes, Tokens, TokenSequence

X = np.random.default_rng(0).standard_normal((8, 8, 8, 1)).astype(np.float32)


def squared_output(policy):
    """The loss of a small network, and parameters for it."""
    kinds = {"label": Classes(3), "text": Tokens(2)}
    small = dict(channels=8, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=(), groups=4)
    module = networks.UNet(**small, remat=policy, conditions=kinds)
    told = {"label": jnp.arange(8) % 3, "text": TokenSequence(jnp.ones((8, 4, 2)), jnp.ones((8, 4), bool))}
    shapes = jax.eval_shape(lambda: networks.Linen(module).init(jax.random.key(0), X.shape[1:]))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape), jnp.float32), shapes)
    return lambda params: (networks.Linen(module)(params, jnp.asarray(X), jnp.arange(8.0), told) ** 2).mean(), params


def bytes_kept(policy):
    """What the forward pass leaves for the gradient, some parameters among it."""
    loss, params = squared_output(policy)
    kept = jax.tree.leaves(jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in kept)


def test_each_policy_keeps_less_than_the_one_before():
    everything, products, nothing = map(bytes_kept, ("none", "products", "blocks"))
    print(everything, products, nothing)
    assert nothing < 0.7 * products < 0.5 * everything


def test_the_gradient_is_the_same():
    def gradient(policy):
        loss, params = squared_output(policy)
        return jax.jit(jax.grad(loss)).lower(params).compile({"xla_backend_optimization_level": 0})(params)

    ours, theirs = (jax.tree.leaves(gradient(policy)) for policy in ("blocks", "none"))
    # Some are zero but for rounding: of biases that a normalisation takes away.
    largest = max(float(jnp.abs(leaf).max()) for leaf in theirs)
    for again, kept in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(again, kept, rtol=1e-4, atol=1e-6 * largest)
