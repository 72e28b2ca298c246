import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax import networks

# Two levels, and one with attention in the middle alone, which compiles in half the time.
TINY = dict(channels=8, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(4,), groups=4)
FLAT = dict(channels=8, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=(), groups=4)
SHAPE = (8, 8, 1)


def _num_params(module, sample_shape):
    params = jax.eval_shape(lambda key: networks.init_params(module, key, sample_shape), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _inputs(batch=5):
    x = jax.random.normal(jax.random.key(1), (batch, *SHAPE))
    return x, jnp.linspace(0.0, 999.0, batch), jax.random.split(jax.random.key(2), batch)


def test_ddpm_cifar_parameter_count():
    # diffusers' UNet2DModel of google/ddpm-cifar10-32, and the DDPM code: 35.7 M in the paper's appendix B.
    assert _num_params(networks.UNet(dropout=0.1), (32, 32, 3)) == 35_746_307


@pytest.mark.parametrize(
    ("side", "channels", "multipliers", "num_res_blocks", "millions"),
    [
        (64, 192, (1, 2, 3, 4), 3, 296),
        (128, 256, (1, 1, 2, 3, 4), 2, 422),
    ],
)
def test_guided_diffusion_parameter_counts(side, channels, multipliers, num_res_blocks, millions):
    # Model sizes of the ImageNet models in arXiv:2105.05233, appendix (296M, 422M).
    module = networks.UNet(
        channels=channels,
        channel_multipliers=multipliers,
        num_res_blocks=num_res_blocks,
        attention_resolutions=(32, 16, 8),
        head_channels=64,
        scale_shift=True,
        resblock_updown=True,
        out_channels=6,
        num_classes=1000,
    )
    assert round(_num_params(module, (side, side, 3)) / 1e6) == millions


def test_starts_as_the_zero_function(draw_params, jit):
    module = networks.UNet(**FLAT)
    x, time, _ = _inputs(2)
    last = jit(lambda key: networks.init_params(module, key, SHAPE)["last"])(jax.random.key(0))
    out = jit(networks.apply_fn(module))({**draw_params(module, SHAPE), "last": last}, x, time)
    np.testing.assert_array_equal(out, np.zeros_like(out))


@pytest.mark.parametrize(
    "settings",
    [
        dict(scale_shift=True, resblock_updown=True, num_heads=2, out_channels=6),
        dict(num_classes=3, context_dim=2, head_channels=4, dropout=0.3, dtype=jnp.bfloat16),
    ],
    ids=["guided_diffusion", "conditional_bfloat16"],
)
def test_variants_run_in_float32_from_door_to_door(settings, draw_params, jit):
    module = networks.UNet(**TINY, **settings)
    x, time, keys = _inputs(3)
    condition = {"label": jnp.array([0, 2, 3]), "context": jnp.ones((3, 2))} if "num_classes" in settings else None
    params = draw_params(module, SHAPE)
    out = jit(networks.apply_fn(module))(params, x, time, condition, key=keys)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
    assert out.shape == (3, 8, 8, settings.get("out_channels", 1)) and out.dtype == jnp.float32
    assert np.all(np.isfinite(out)) and np.all(np.std(out, axis=(1, 2)) > 0)


def test_bfloat16_is_near_float32(draw_params, jit):
    x, time, _ = _inputs(2)
    params = draw_params(networks.UNet(**FLAT), SHAPE)
    wide, narrow = (
        jit(networks.apply_fn(networks.UNet(**FLAT, dtype=dtype)))(params, x, time)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    # 8 significant bits through some 20 layers.
    assert 0.0 < np.max(np.abs(wide - narrow)) < 0.1 * np.std(wide)


def test_a_sample_does_not_know_its_batch_and_dropout_wants_keys(draw_params, jit):
    module = networks.UNet(**FLAT, dropout=0.5)
    apply, params = jit(networks.apply_fn(module)), draw_params(module, SHAPE)
    x, time, keys = _inputs(5)
    together = apply(params, x, time, key=keys)
    alone = apply(params, x[3:4], time[3:4], key=keys[3:4])
    np.testing.assert_allclose(together[3], alone[0], rtol=1e-5, atol=1e-5)
    assert np.max(np.abs(together - apply(params, x, time, key=keys[::-1]))) > 1e-2

    sure = apply(params, x, time)
    np.testing.assert_array_equal(sure, apply(params, x, time))
    assert np.max(np.abs(together - sure)) > 1e-2


def test_a_missing_entry_is_the_null_entry(draw_params, jit):
    module = networks.UNet(**FLAT, num_classes=3, context_dim=2)
    apply = jit(networks.apply_fn(module))
    params = draw_params(module, SHAPE)
    x, time, _ = _inputs(2)
    condition = {"label": jnp.array([0, 1]), "context": jnp.ones((2, 2))}
    missing = apply(params, x, time)
    null = apply(params, x, time, networks.null_condition(condition, 3))
    np.testing.assert_allclose(missing, null, rtol=1e-5, atol=1e-5)
    assert np.max(np.abs(missing - apply(params, x, time, condition))) > 1e-2


def test_jvp_is_the_finite_difference(x64, draw_params, jit):
    module = networks.UNet(**FLAT, dtype=jnp.float64)
    params = draw_params(module, SHAPE)
    draw = np.random.default_rng(3)
    x, direction = jnp.asarray(draw.standard_normal((2, 1, *SHAPE)))
    time, rate = jnp.asarray([2.5]), jnp.asarray([0.7])

    def along(s):
        return networks.apply_fn(module)(params, x + s * direction, time + s * rate)

    value, slope = jit(lambda s: jax.jvp(along, (s,), (jnp.ones_like(s),)))(jnp.asarray(0.0))
    plain, step = jit(along), 1e-4
    expected = (plain(jnp.asarray(step)) - plain(jnp.asarray(-step))) / (2 * step)
    assert value.dtype == jnp.float64
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-6)


def test_rectangular_images():
    module = networks.UNet(**TINY)
    out, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), jnp.ones((2, 8, 12, 1)), jnp.ones(2))
    assert out.shape == (2, 8, 12, 1)


def test_equal_modules_make_equal_functions():
    first, second = (networks.apply_fn(networks.UNet(**TINY)) for _ in range(2))
    assert first == second and hash(first) == hash(second)
    assert first != networks.apply_fn(networks.UNet(**{**TINY, "dropout": 0.1}))


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
        (dict(dropout=1.0), SHAPE, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_unfit_settings_are_refused(settings, sample_shape, message):
    with pytest.raises(ValueError, match=message):
        _num_params(networks.UNet(**{**TINY, **settings}), sample_shape)


def test_unfit_conditions_are_refused():
    module = networks.UNet(**TINY)
    x, time, _ = _inputs(2)
    with pytest.raises(ValueError, match="this network has no classes"):
        jax.eval_shape(module.init, jax.random.key(0), x, time, {"label": jnp.zeros(2, jnp.int32)})
