import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.networks import attention

SHAPE = (2, 2, 3, 8)


def _params():
    draw = np.random.default_rng(5)
    names = ("query", "key", "value", "out")
    params = {name: {"kernel": draw.standard_normal((8, 8)), "bias": draw.standard_normal(8)} for name in names}
    return {**params, "norm": {"scale": draw.standard_normal(8), "bias": draw.standard_normal(8)}}


@pytest.mark.parametrize("num_heads", [1, 2])
def test_against_numpy(num_heads, jit):
    x, p = np.random.default_rng(0).standard_normal(SHAPE), _params()
    module = attention.AttentionBlock(num_heads, groups=4)
    narrow = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (p, x))
    apply = jit(lambda params, x: module.apply({"params": params}, x))
    got = apply(*narrow)

    grouped = x.reshape(2, 6, 4, 2)
    mean, var = (f(grouped, axis=(1, 3), keepdims=True) for f in (np.mean, np.var))
    normed = ((grouped - mean) / np.sqrt(var + 1e-6)).reshape(2, 6, 8) * p["norm"]["scale"] + p["norm"]["bias"]
    q, k, v = (normed @ p[name]["kernel"] + p[name]["bias"] for name in ("query", "key", "value"))
    mixed = np.zeros_like(normed)
    size = 8 // num_heads
    for head in range(num_heads):
        own = slice(head * size, (head + 1) * size)
        for sample in range(2):
            weights = np.exp(q[sample, :, own] @ k[sample, :, own].T / np.sqrt(size))
            mixed[sample, :, own] = weights / weights.sum(axis=1, keepdims=True) @ v[sample, :, own]
    expected = x + (mixed @ p["out"]["kernel"] + p["out"]["bias"]).reshape(x.shape)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)

    initial_out = jit(lambda x: module.init(jax.random.key(0), x)["params"]["out"])(narrow[1])
    np.testing.assert_array_equal(apply({**narrow[0], "out": initial_out}, narrow[1]), narrow[1])


def test_float64_is_not_rounded_to_float32_on_the_way(x64, jit):
    # Every position attends to itself by exp(20) against exp(0): a softmax of 1 / (1 + 5 exp(-20)), 1 in float32.
    x = jnp.asarray(np.eye(6).reshape(1, 6, 1, 6))
    weights = jit(attention._mix)(20.0 * 6**0.5 * x, x, x)
    expected = 1.0 / (1.0 + 5.0 * np.exp(-20.0))
    np.testing.assert_allclose(np.diagonal(np.asarray(weights)[0, :, 0]), expected, rtol=1e-13)


@pytest.mark.parametrize("masked", [False, True])
def test_every_derivative_is_that_of_the_plain_form(x64, jit, masked):
    """Values, gradients, directional derivatives, and gradients of these, in float64."""
    draw = np.random.default_rng(6)
    inputs, moves = ([jnp.asarray(draw.standard_normal((2, 5, 3, 4))) for _ in range(3)] for _ in range(2))
    mask = jnp.asarray(draw.random((2, 5)) < 0.7).at[:, 0].set(True) if masked else None
    weights = jnp.asarray(draw.standard_normal((2, 5, 3, 4)))

    def plain(query, key, value):
        logits = jnp.einsum("btnh,bsnh->btns", query, key) / 2.0
        logits = logits if mask is None else jnp.where(mask[:, None, None, :], logits, -jnp.inf)
        return jnp.einsum("btns,bsnh->btnh", jnp.exp(logits) / jnp.exp(logits).sum(-1, keepdims=True), value)

    def derivatives(mix):
        def weighted(*inputs):
            return jnp.vdot(weights, mix(*inputs))

        def slope(*inputs):
            return jax.jvp(weighted, inputs, tuple(moves))[1]

        every = (0, 1, 2)
        return mix(*inputs), slope(*inputs), jax.grad(weighted, every)(*inputs), jax.grad(slope, every)(*inputs)

    ours, theirs = jit(lambda: (derivatives(lambda *inputs: attention._mix(*inputs, mask)), derivatives(plain)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), ours, theirs)


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match=r"num_heads must divide the channels .* got 3 heads for 8 channels"):
        attention.AttentionBlock(3, groups=2).init(jax.random.key(0), jnp.ones(SHAPE))


def test_cross_attention_against_numpy(draw_params, jit):
    """Softmax over the tokens that the mask shows, in float64 NumPy; hidden ones are not read, even if they are NaN."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 2, 3, 4)), jnp.float32)
    tokens, mask = rng.normal(size=(2, 5, 6)), np.array([[True, True, False, False, True], [True] + [False] * 4])
    module = attention.AttentionBlock(num_heads=2, groups=2)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x, jnp.asarray(tokens, jnp.float32), jnp.asarray(mask))
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes["params"])
    got = jit(module.apply)({"params": params}, x, jnp.asarray(tokens, jnp.float32), jnp.asarray(mask))

    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    grouped = np.asarray(x, np.float64).reshape(2, 6, 2, 2)
    normed = (grouped - grouped.mean((1, 3), keepdims=True)) / np.sqrt(grouped.var((1, 3), keepdims=True) + 1e-6)
    normed = normed.reshape(2, 6, 4) * p["norm"]["scale"] + p["norm"]["bias"]
    query, key, value = (
        (of @ p[name]["kernel"] + p[name]["bias"]).reshape(2, -1, 2, 2)
        for name, of in (("query", normed), ("key", tokens), ("value", tokens))
    )
    expected = np.zeros((2, 6, 2, 2))
    for b in range(2):
        for head in range(2):
            logits = query[b, :, head] @ key[b, mask[b], head].T / np.sqrt(2)
            weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            expected[b, :, head] = weights @ value[b, mask[b], head]
    expected = np.asarray(x, np.float64) + (expected.reshape(2, 6, 4) @ p["out"]["kernel"] + p["out"]["bias"]).reshape(
        x.shape
    )
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
