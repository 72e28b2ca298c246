import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.networks import normalization

SHAPE = (3, 4, 5, 12)


@pytest.fixture(params=["cpu", "gpu"])
def backend(request, monkeypatch):
    """Traced as for that platform: the derivatives are written otherwise for GPUs."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)
    return request.param


def _arrays(dtype="f4"):
    draw = np.random.default_rng(1)
    x = 2.0 + 3.0 * draw.standard_normal(SHAPE)
    params = {"scale": 1.0 + 0.3 * draw.standard_normal(12), "bias": draw.standard_normal(12)}
    s, m = 0.4 * draw.standard_normal((2, 3, 12))
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (x, params, s, m))


def _expected(x, params, groups, s=None, m=None, act=True):
    x, scale, bias = (np.asarray(value, np.float64) for value in (x, params["scale"], params["bias"]))
    batch, channels = x.shape[0], x.shape[-1]
    grouped = x.reshape(batch, -1, groups, channels // groups)
    mean = grouped.mean(axis=(1, 3), keepdims=True)
    variance = ((grouped - mean) ** 2).mean(axis=(1, 3), keepdims=True)
    h = ((grouped - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape) * scale + bias
    if s is not None:
        h = h * (1 + np.asarray(s)[:, None, None, :]) + np.asarray(m)[:, None, None, :]
    return h / (1 + np.exp(-h)) if act else h


@pytest.mark.parametrize(("groups", "act"), [(1, True), (3, False), (12, True)])
def test_against_numpy(groups, act, jit):
    x, params, s, m = _arrays()
    offset = 3.0 * s
    module = normalization.GroupNormAct(groups, act=act)

    def all_of_them(x, params, s, m):
        return [module.apply({"params": params}, x, *further) for further in ((), ((s, m),), ((s, m), offset))]

    plain, shifted, added = jit(all_of_them)(x, params, s, m)
    np.testing.assert_allclose(plain, _expected(x, params, groups, act=act), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(shifted, _expected(x, params, groups, s, m, act=act), rtol=1e-5, atol=1e-5)
    x = np.asarray(x, np.float64) + np.asarray(offset, np.float64)[:, None, None, :]
    np.testing.assert_allclose(added, _expected(x, params, groups, s, m, act=act), rtol=1e-5, atol=1e-5)


def test_every_derivative_with_an_offset_is_that_of_the_sum(x64, backend, jit):
    """Values, gradients, directional derivatives, and gradients of these, in float64."""
    x, params, offset, move = _arrays("f8")
    weights = jnp.asarray(np.random.default_rng(5).standard_normal(SHAPE))
    module = normalization.GroupNormAct(4, dtype=jnp.float64)

    def derivatives(norm):
        def weighted(x, offset):
            return jnp.vdot(weights, norm(x, offset))

        def slope(x, offset):
            return jax.jvp(weighted, (x, offset), (jnp.cos(x), move))[1]

        given = x, offset
        return norm(*given), slope(*given), jax.grad(weighted, (0, 1))(*given), jax.grad(slope, (0, 1))(*given)

    ours, theirs = jit(
        lambda: (
            derivatives(lambda x, offset: module.apply({"params": params}, x, offset=offset)),
            derivatives(lambda x, offset: module.apply({"params": params}, x + offset[:, None, None, :])),
        )
    )()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), ours, theirs)


def test_one_offset_serves_a_whole_batch(jit):
    x, params, s, _ = _arrays()
    module = normalization.GroupNormAct(4)
    one, each = jit(
        lambda: [module.apply({"params": params}, x, offset=of) for of in (s[:1], jnp.broadcast_to(s[:1], s.shape))]
    )()
    np.testing.assert_array_equal(one, each)


def test_value_and_gradient_against_flax(backend, jit):
    x, params, _, _ = _arrays()
    weights = jnp.asarray(np.random.default_rng(2).standard_normal(SHAPE), jnp.float32)
    flax_norm = nn.GroupNorm(num_groups=4, epsilon=1e-6)

    def ours(params, x):
        return jnp.sum(weights * normalization.GroupNormAct(4).apply({"params": params}, x))

    def theirs(params, x):
        return jnp.sum(weights * nn.silu(flax_norm.apply({"params": params}, x)))

    value, grads = jit(jax.value_and_grad(ours, (0, 1)))(params, x)
    expected_value, expected_grads = jit(jax.value_and_grad(theirs, (0, 1)))(params, x)
    np.testing.assert_allclose(value, expected_value, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), grads, expected_grads)


def test_forward_mode_and_second_derivatives_are_finite_differences(x64, backend, jit):
    arrays = _arrays("f8")
    draw = np.random.default_rng(4)
    direction = jax.tree.map(lambda leaf: jnp.asarray(draw.standard_normal(leaf.shape)), arrays)
    weights = jnp.asarray(draw.standard_normal(SHAPE))

    def f(x, params, s, m):
        module = normalization.GroupNormAct(3, dtype=jnp.float64)
        return jnp.sum(weights * module.apply({"params": params}, x, (s, m)))

    def along(step):
        moved = jax.tree.map(lambda a, d: a + step * d, arrays, direction)
        return jax.value_and_grad(f, (0, 1, 2, 3))(*moved)

    _, slopes = jit(lambda step: jax.jvp(along, (step,), (jnp.ones_like(step),)))(jnp.asarray(0.0))
    there, back = (jit(along)(jnp.asarray(step)) for step in (1e-5, -1e-5))
    expected = jax.tree.map(lambda a, b: (a - b) / 2e-5, there, back)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), slopes, expected)


@pytest.mark.parametrize("of", ["x", "b"])
def test_the_slope_of_silu_is_right_to_rounding_at_every_size(of, backend, jit):
    """By x with a = 1 and b = 0, and by b with x = 0, which a GPU computes in another way."""
    h = np.concatenate([np.linspace(-25, 25, 2001), [-3e38, -1e4, -100, 100, 1e4, 3e38]]).astype(np.float32)
    one, zero = jnp.float32(1), jnp.float32(0)
    h_as = {"x": lambda h: (h, one, zero), "b": lambda h: (zero, one, h)}[of]
    value, slope = jit(jax.vmap(jax.value_and_grad(lambda h: normalization._multiply_add_silu(*h_as(h)))))(h)
    wide = np.clip(h.astype(np.float64), -700, 700)
    gate = 1 / (1 + np.exp(-wide))
    eps = np.finfo(np.float32).eps
    np.testing.assert_allclose(value, gate * h, rtol=4 * eps, atol=1e-37)
    error = np.abs(slope - gate * (1 + wide * (1 - gate)))
    assert np.all(error <= eps * (2 + np.minimum(np.abs(h), 25)))


def test_bfloat16_is_rounded_only_at_the_door(jit):
    x, params, _, _ = _arrays()
    x = x.astype(jnp.bfloat16)
    got = jit(normalization.GroupNormAct(4, dtype=jnp.bfloat16).apply)({"params": params}, x)
    assert got.dtype == jnp.bfloat16
    expected = _expected(np.asarray(x, np.float32), params, 4)
    np.testing.assert_allclose(np.asarray(got, np.float32), expected, rtol=2**-8, atol=1e-6)


def test_a_constant_image_does_not_divide_by_zero(jit):
    module = normalization.GroupNormAct(2)
    params = {"scale": jnp.ones(4), "bias": jnp.ones(4)}
    slope_of = jit(jax.value_and_grad(lambda x: jnp.sum(module.apply({"params": params}, x))))
    value, slope = slope_of(jnp.full((1, 4, 4, 4), 3.0))
    # h = bias = 1 everywhere: 64 silu(1).
    np.testing.assert_allclose(value, 64 / (1 + np.exp(-1.0)), rtol=1e-5)
    assert np.all(np.isfinite(slope))


def test_groups_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match=r"channels must be a multiple of groups = 32, got 12 channels: choose groups"):
        normalization.GroupNormAct().init(jax.random.key(0), jnp.ones(SHAPE))
