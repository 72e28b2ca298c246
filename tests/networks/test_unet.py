import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import conditions, networks
from diffax.conditions import Classes, Tokens, TokenSequence, Vector

# Two levels, and one with attention in the middle alone, which compiles in half the time.
TINY = dict(channels=8, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(4,), groups=4)
FLAT = dict(channels=8, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=(), groups=4)
SHAPE = (8, 8, 1)


def _num_params(module, sample_shape):
    params = jax.eval_shape(lambda key: networks.Linen(module).init(key, sample_shape), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _inputs(batch=5):
    x = jax.random.normal(jax.random.key(1), (batch, *SHAPE))
    return x, jnp.linspace(0.0, 999.0, batch), jax.random.split(jax.random.key(2), batch)


def test_ddpm_cifar_parameter_count():
    # diffusers' UNet2DModel of google/ddpm-cifar10-32, and the DDPM code: 35.7 M in the paper's appendix B.
    assert _num_params(networks.UNet(dropout=0.1), (32, 32, 3)) == 35_746_307


def test_guided_diffusion_parameter_count():
    # The ImageNet 64x64 model of arXiv:2105.05233: 296 M in its appendix. Our table of labels has one row more.
    module = networks.UNet(
        channels=192,
        channel_multipliers=(1, 2, 3, 4),
        num_res_blocks=3,
        attention_resolutions=(32, 16, 8),
        head_channels=64,
        scale_shift=True,
        resblock_updown=True,
        out_channels=6,
        conditions={"label": Classes(1000)},
    )
    assert round(_num_params(module, (64, 64, 3)) / 1e6) == 296


@functools.cache
def _conditional(jit, dtype="float32"):
    """One network for many tests, because each takes seconds to compile."""
    module = networks.UNet(**FLAT, conditions={"label": Classes(3), "context": Vector(2)}, dropout=0.5, dtype=dtype)
    return module, jit(networks.Linen(module))


def _conditional_inputs():
    x, time, keys = _inputs(5)
    return x, time, {"label": jnp.array([0, 1, 2, 3, 0]), "context": jnp.ones((5, 2))}, keys


def test_starts_as_the_zero_function(draw_params, jit):
    module, apply = _conditional(jit)
    last = jit(lambda key: networks.Linen(module).init(key, SHAPE)["last"])(jax.random.key(0))
    x, time, condition, _ = _conditional_inputs()
    out = apply({**draw_params(module, SHAPE), "last": last}, x, time, condition)
    np.testing.assert_array_equal(out, np.zeros_like(out))


def test_a_sample_does_not_know_its_batch(draw_params, jit):
    module, apply = _conditional(jit)
    params = draw_params(module, SHAPE)
    x, time, condition, keys = _conditional_inputs()
    together = apply(params, x, time, condition, key=keys)
    own = slice(3, 4)
    alone = apply(params, x[own], time[own], jax.tree.map(lambda leaf: leaf[own], condition), key=keys[own])
    np.testing.assert_allclose(together[own], alone, rtol=1e-5, atol=1e-5)
    assert np.max(np.abs(together - apply(params, x, time, condition, key=keys[::-1]))) > 1e-2


def test_dropout_needs_keys(draw_params, jit):
    module, apply = _conditional(jit)
    params = draw_params(module, SHAPE)
    x, time, condition, keys = _conditional_inputs()
    sure = apply(params, x, time, condition)
    np.testing.assert_array_equal(sure, apply(params, x, time, condition))
    assert np.max(np.abs(sure - apply(params, x, time, condition, key=keys))) > 1e-2


def test_a_missing_entry_is_the_null_entry(draw_params, jit):
    module, apply = _conditional(jit)
    params = draw_params(module, SHAPE)
    x, time, condition, _ = _conditional_inputs()
    missing = apply(params, x, time)
    null = apply(params, x, time, conditions.null(condition, module.conditions))
    np.testing.assert_allclose(missing, null, rtol=1e-5, atol=1e-5)
    assert np.max(np.abs(missing - apply(params, x, time, condition))) > 1e-2


def test_bfloat16_is_near_float32_and_stays_inside(draw_params, jit):
    x, time, condition, _ = _conditional_inputs()
    module, apply = _conditional(jit)
    _, narrow_apply = _conditional(jit, "bfloat16")
    params = draw_params(module, SHAPE)
    wide, narrow = apply(params, x, time, condition), narrow_apply(params, x, time, condition)
    assert narrow.dtype == jnp.float32
    # 8 significant bits through some 20 layers.
    assert 0.0 < np.max(np.abs(wide - narrow)) < 0.1 * np.std(wide)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parameters_are_float32(dtype):
    module = networks.UNet(
        **TINY,
        conditions={"label": Classes(3), "context": Vector(2)},
        scale_shift=True,
        resblock_updown=True,
        dtype=dtype,
    )
    params = jax.eval_shape(lambda key: networks.Linen(module).init(key, SHAPE), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}


def test_guided_diffusion_with_learned_variances(draw_params, jit):
    settings = dict(scale_shift=True, resblock_updown=True, num_heads=2, out_channels=6)
    module = networks.UNet(**TINY, **settings)
    x, time, _ = _inputs(3)
    out = jit(networks.Linen(module))(draw_params(module, SHAPE), x, time)
    assert out.shape == (3, 8, 8, 6) and out.dtype == jnp.float32
    assert np.all(np.isfinite(out)) and np.all(np.std(out, axis=(1, 2)) > 0)


def test_ddpm_resampling(draw_params, jit):
    module = networks.UNet(**{**TINY, "head_channels": 4})
    x, time, _ = _inputs(3)
    out = jit(networks.Linen(module))(draw_params(module, SHAPE), x, time)
    assert out.shape == x.shape and np.all(np.isfinite(out)) and np.std(out) > 0


def test_jvp_is_the_finite_difference(x64, draw_params, jit):
    module = networks.UNet(**FLAT, dtype="float64", conditions={"label": Classes(3), "text": Tokens(2)})
    params = draw_params(module, SHAPE)
    draw = np.random.default_rng(3)
    tokens = TokenSequence(jnp.asarray(draw.standard_normal((1, 3, 2))), jnp.asarray([[True, True, False]]))
    told = {"label": jnp.asarray([1], jnp.int32), "text": tokens}
    x, direction = jnp.asarray(draw.standard_normal((2, 1, *SHAPE)))
    time, rate = jnp.asarray([2.5]), jnp.asarray([0.7])

    def along(s):
        moved = tokens._replace(vectors=tokens.vectors * (1 + s))
        return networks.Linen(module)(params, x + s * direction, time + s * rate, told | {"text": moved})

    value, slope = jit(lambda s: jax.jvp(along, (s,), (jnp.ones_like(s),)))(jnp.asarray(0.0))
    plain, step = jit(along), 1e-4
    expected = (plain(jnp.asarray(step)) - plain(jnp.asarray(-step))) / (2 * step)
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-6)


def test_rectangular_images():
    module = networks.UNet(**TINY)
    out, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), jnp.ones((2, 8, 12, 1)), jnp.ones(2))
    assert out.shape == (2, 8, 12, 1)


def test_equal_modules_make_equal_networks():
    first, second = (networks.Linen(networks.UNet(**TINY)) for _ in range(2))
    assert first == second and hash(first) == hash(second)
    assert first != networks.Linen(networks.UNet(**{**TINY, "dropout": 0.1}))


@pytest.mark.parametrize(
    ("settings", "sample_shape", "message"),
    [
        (
            dict(channel_multipliers=(1, 2, 2, 2)),
            (30, 30, 3),
            r"side 30 must be divisible by 8 \(2\^3 down-samplings\)",
        ),
        (dict(), (8, 9, 1), r"side 9 must be divisible by 2 \(2\^1 down-samplings\)"),
        (dict(groups=3), SHAPE, "channels must be a multiple of groups = 3, got 8 channels"),
        (dict(num_heads=3), SHAPE, "num_heads must divide .* got 3 heads for 16 channels"),
        (dict(head_channels=5), SHAPE, "head_channels must divide .* got 5 for 16 channels"),
        (
            dict(attention_resolutions=(16,)),
            SHAPE,
            "16, which is never met: images of height 8 pass through 8, 4",
        ),
        (dict(remat="all"), SHAPE, "model.remat must be one of none, products, blocks, got 'all'"),
        (dict(dtype="int32"), SHAPE, "model.dtype must be one of float32, bfloat16, .* got 'int32'"),
        (dict(dtype="floaty"), SHAPE, "model.dtype must be one of float32, bfloat16, .* got 'floaty'"),
        (dict(dropout=1.0), SHAPE, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_unfit_settings_are_refused(settings, sample_shape, message):
    with pytest.raises(ValueError, match=message):
        _num_params(networks.UNet(**{**TINY, **settings}), sample_shape)


def test_unfit_conditions_are_refused():
    module = networks.UNet(**TINY)
    x, time, _ = _inputs(2)
    with pytest.raises(ValueError, match="no condition 'label': the network takes no conditions"):
        jax.eval_shape(module.init, jax.random.key(0), x, time, {"label": jnp.zeros(2, jnp.int32)})


@functools.cache
def _told_tokens(jit):
    kinds = {"label": Classes(3), "text": Tokens(6)}
    module = networks.UNet(**TINY, conditions=kinds)
    return module, jit(networks.Linen(module))


def _tokens(length, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.arange(length) < np.array([2, 3, 0])[:, None]
    return TokenSequence(rng.normal(size=(3, length, 6)).astype(np.float32), mask)


def test_tokens_are_attended_to_and_padding_changes_nothing(draw_params, jit):
    module, apply = _told_tokens(jit)
    params = draw_params(module, SHAPE)
    x, time, _ = _inputs(3)
    told = {"label": jnp.array([0, 1, 2]), "text": _tokens(4)}
    out = np.asarray(apply(params, x, time, told))
    other = np.asarray(apply(params, x, time, told | {"text": _tokens(4, seed=1)}))
    changed = np.abs(out - other).max((1, 2, 3))
    assert (changed[:2] > 1e-3).all() and changed[2] == 0  # the last has no token
    # What stands in the padding is not read: not a bit changes, whatever it is.
    vectors = np.where(told["text"].mask[..., None], told["text"].vectors, np.nan)
    np.testing.assert_array_equal(
        apply(params, x, time, told | {"text": TokenSequence(vectors, told["text"].mask)}), out
    )
    # Nor does a longer padding, up to the order of sums over it, which is the processor's.
    longer = conditions.padded(told["text"], 9)
    np.testing.assert_allclose(apply(params, x, time, told | {"text": longer}), out, rtol=0, atol=1e-6)
    # A sequence without tokens is the null one, and so is a missing one.
    null = conditions.null({"text": told["text"]}, module.conditions)
    np.testing.assert_array_equal(apply(params, x, time, told | null)[2], out[2])
    missing = apply(params, x, time, {"label": told["label"]})
    np.testing.assert_array_equal(missing[2], out[2])


def test_cross_attention_stands_where_attention_does(jit):
    module, _ = _told_tokens(jit)
    params = jax.eval_shape(lambda key: networks.Linen(module).init(key, SHAPE), jax.random.key(0))
    assert sorted(name for name in params if name.endswith("_cross")) == sorted(
        f"{name}_cross" for name in params if name.endswith("_attention")
    )
    plain = networks.Linen(networks.UNet(**TINY, conditions={"label": Classes(3)}))
    without = jax.eval_shape(lambda key: plain.init(key, SHAPE), jax.random.key(0))
    assert set(without) == {name for name in params if not name.endswith("_cross")} - {"token_embedding"}
