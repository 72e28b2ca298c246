import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffax.networks import blocks, upsampling

DIMS = ("NHWC", "HWIO", "NHWC")


def plain(x, kernel):
    return jax.lax.conv_general_dilated(upsampling.nearest(x), kernel, (1, 1), "SAME", dimension_numbers=DIMS)


def _arrays(height, width, dtype):
    draw = np.random.default_rng(height)
    shapes = {"x": (2, height, width, 3), "kernel": (3, 3, 3, 4), "out": (2, 2 * height, 2 * width, 4)}
    drawn = {name: jnp.asarray(draw.standard_normal(shape), dtype) for name, shape in shapes.items()}
    moves = tuple(jnp.asarray(draw.standard_normal(drawn[name].shape), dtype) for name in ("x", "kernel"))
    return (drawn["x"], drawn["kernel"]), moves, drawn["out"]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2)])
def test_every_derivative_is_that_of_the_plain_form(x64, jit, height, width):
    """Values, gradients, directional derivatives, and gradients of these, in float64."""
    inputs, moves, weights = _arrays(height, width, jnp.float64)

    def derivatives(convolution):
        def weighted(x, kernel):
            return jnp.vdot(weights, jnp.sin(convolution(x, kernel)))

        def slope(*inputs):
            return jax.jvp(weighted, inputs, moves)[1]

        return (
            convolution(*inputs),
            jax.grad(weighted, (0, 1))(*inputs),
            jax.jvp(convolution, inputs, moves)[1],
            jax.grad(slope, (0, 1))(*inputs),
        )

    ours, theirs = jit(lambda: (derivatives(upsampling.upsampled_conv3x3), derivatives(plain)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), ours, theirs)


def test_float32_is_as_near_to_float64_as_the_plain_form(jit):
    inputs, _, _ = _arrays(8, 8, jnp.float32)
    with jax.enable_x64(True):
        exact = np.asarray(plain(*(jnp.asarray(np.asarray(array), jnp.float64) for array in inputs)))
    ours, theirs = (np.abs(jit(f)(*inputs) - exact).max() for f in (upsampling.upsampled_conv3x3, plain))
    assert ours < 2 * theirs + 1e-7


def test_multiplications_are_four_ninths_of_the_plain_forms():
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 8, 8, 32), (3, 3, 32, 32)))

    def flops(function):
        return jax.jit(function).lower(x, kernel).cost_analysis()["flops"]

    # At the borders a 3x3 kernel meets more zeros, which are not counted.
    assert 0.4 < flops(upsampling.upsampled_conv3x3) / flops(plain) < 0.5


def test_a_residual_block_that_upsamples_convolves_the_upsampled(jit):
    """With kernels that copy their centre the block of the up-sampled image is the up-sampled block."""
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 3, 3, 4)), jnp.float32)
    centre = {"kernel": jnp.zeros((3, 3, 4, 4)).at[1, 1].set(jnp.eye(4)), "bias": jnp.zeros(4)}
    norm = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
    condition = {"kernel": jnp.zeros((1, 4)), "bias": jnp.zeros(4)}
    params = {"norm_1": norm, "norm_2": norm, "conv_1": centre, "conv_2": centre, "condition": condition}
    emb = jnp.ones((1, 1))
    small, large = (
        jit(blocks.ResidualBlock(4, layer=0, groups=1, resample=resample).apply)({"params": params}, x, emb)
        for resample in (None, upsampling.nearest)
    )
    np.testing.assert_allclose(large, np.kron(small, np.ones((1, 2, 2, 1))), atol=1e-5)
