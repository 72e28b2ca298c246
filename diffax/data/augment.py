"""Data augmentation and dequantization of images, inside the training step, with one random key per example."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Num

from diffax import arrays, conditions
from diffax.typing import Array, Keys

Image = Float[jax.Array, "height width channels"]
Images = Float[jax.Array, "batch height width channels"]
NUM_GEOMETRIC = 9
# Of the condition that tells a network what `geometric` did to an image.
KIND = conditions.Vector(NUM_GEOMETRIC)


def dequantized(keys: Keys, x: Num[Array, "batch *dims"], num_levels: int) -> Float[jax.Array, "batch *dims"]:
    """Uniform dequantization of pixels 0 .. num_levels - 1 to [-1, 1]: 2 (x + u) / num_levels - 1, u uniform in [0, 1).

    A density model needs it, because the distribution of discrete pixels is a sum of point masses (arXiv:1511.01844,
    section 3.1).
    """
    noise = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(keys)
    return 2 * (x.astype(jnp.float32) + noise) / num_levels - 1


def flipped(keys: Keys, x: Images) -> Images:
    """Random horizontal flips: mirrors each image left to right with probability 1/2."""
    mirrored = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(arrays.expand_to(mirrored, x) > 0, x[:, :, ::-1], x)


class _Transform(NamedTuple):
    """A geometric transformation of one image, and its augmentation label.

    flip_x, flip_y: whether the image is flipped along x and y first, 0 or 1.
    matrix: the affine map from an output position to an input position, in pixels about the image's centre.
    """

    flip_x: jax.Array
    flip_y: jax.Array
    matrix: Float[jax.Array, "2 3"]
    label: Float[jax.Array, " 9"]


def geometric(keys: Keys, x: Images, *, probability: float = 0.12) -> tuple[Images, Float[jax.Array, "batch 9"]]:
    """EDM's non-leaking augmentation: flips, scaling, rotation, anisotropic scaling and shifts, with their labels.

    Each transformation is applied with `probability`, the horizontal flip always with 1/2 (arXiv:2206.00364, appendix
    F.2, table 6). The network gets the labels as conditioning in training and zeros at sampling, so that it generates
    images without augmentation. Images are padded by reflection and resampled linearly at twice their resolution.
    An image without a transformation, or with flips only, is exact.

    Returns:
      The transformed images and their labels (batch, NUM_GEOMETRIC).
    """
    height, width, _ = x.shape[1:]
    transforms = jax.vmap(lambda key: _draw_transform(key, height, width, probability))(keys)
    return jax.vmap(_apply)(x, transforms), transforms.label


def _draw_transform(key: jax.Array, height: int, width: int, probability: float) -> _Transform:
    keys = jax.random.split(key, 13)

    def sometimes(value: jax.Array, key: jax.Array, chance: float = probability) -> jax.Array:
        return jnp.where(jax.random.uniform(key) < chance, value, 0)

    flip_x = jax.random.bernoulli(keys[0]).astype(jnp.float32)
    flip_y = sometimes(jax.random.bernoulli(keys[1]).astype(jnp.float32), keys[2])
    scale = sometimes(jax.random.normal(keys[3]), keys[4])
    angle = sometimes(jax.random.uniform(keys[5], minval=-jnp.pi, maxval=jnp.pi), keys[6])
    stretch = sometimes(jax.random.normal(keys[7]), keys[8])
    axis = sometimes(jax.random.uniform(keys[9], minval=-jnp.pi, maxval=jnp.pi), keys[10], 0.5)
    shift = sometimes(jax.random.normal(keys[11], (2,)), keys[12])

    # The inverse transformations from the last to the first map an output position to a position in the image.
    shrink, squeeze = jnp.exp2(-0.2 * scale), jnp.exp2(-0.2 * stretch)
    stretching = _rotation(-axis) @ jnp.diag(jnp.stack([squeeze, 1 / squeeze])) @ _rotation(axis)
    linear = shrink * _rotation(angle) @ stretching
    offset = linear @ (-0.125 * shift * jnp.array([width, height], jnp.float32))
    label = jnp.stack(
        [flip_x, flip_y, scale, jnp.cos(angle) - 1, jnp.sin(angle), stretch * jnp.cos(axis), stretch * jnp.sin(axis)]
    )
    return _Transform(flip_x, flip_y, jnp.concatenate([linear, offset[:, None]], 1), jnp.concatenate([label, shift]))


def _rotation(angle: jax.Array) -> Float[jax.Array, "2 2"]:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])


def _apply(image: Image, transform: _Transform) -> Image:
    """The transformed image."""
    image = jnp.where(transform.flip_x > 0, image[:, ::-1], image)
    image = jnp.where(transform.flip_y > 0, image[::-1], image)
    height, width, channels = image.shape
    fine = jax.image.resize(image, (2 * height, 2 * width, channels), "lanczos3")
    # The centres of the fine pixels relative to the image's centre, (x, y) in pixels of the image.
    across = (jnp.arange(2 * width, dtype=image.dtype) + 0.5) / 2 - width / 2
    down = (jnp.arange(2 * height, dtype=image.dtype) + 0.5) / 2 - height / 2
    grid = jnp.stack([*jnp.meshgrid(across, down), jnp.ones((2 * height, 2 * width))])
    positions = jnp.einsum("ij,jhw->ihw", transform.matrix, grid)
    columns, rows = (2 * (positions[i] + side / 2) - 0.5 for i, side in enumerate((width, height)))
    moved = jnp.stack(
        [
            jax.scipy.ndimage.map_coordinates(fine[..., c], [rows, columns], order=1, mode="reflect")
            for c in range(channels)
        ],
        axis=-1,
    )
    coarse = jax.image.resize(moved, image.shape, "lanczos3")
    untouched = jnp.all(transform.label[2:] == 0)
    return jnp.where(untouched, image, coarse)
