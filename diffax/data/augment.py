"""Random views of images, drawn inside the training step by each example's own key."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Num

from diffax import arrays
from diffax.typing import Array, Keys

Image = Float[jax.Array, "height width channels"]
Images = Float[jax.Array, "batch height width channels"]
NUM_GEOMETRIC = 9


def dequantized(keys: Keys, x: Num[Array, "batch *dims"], num_levels: int) -> Float[jax.Array, "batch *dims"]:
    """Pixels 0 .. num_levels - 1 with uniform noise of one level, in [-1, 1]: 2 (x + u) / num_levels - 1.

    What a density needs, where pixels are point masses (arXiv:1511.01844, section 3.1).
    """
    noise = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(keys)
    return 2 * (x.astype(jnp.float32) + noise) / num_levels - 1


def flipped(keys: Keys, x: Images) -> Images:
    """Each image mirrored left to right with probability 1/2."""
    mirrored = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(arrays.expand_to(mirrored, x) > 0, x[:, :, ::-1], x)


class View(NamedTuple):
    """flips along x and y; the map from an output position to an input one, (2, 3), in pixels about the centre."""

    flip_x: jax.Array
    flip_y: jax.Array
    matrix: Float[jax.Array, "2 3"]
    label: Float[jax.Array, " 9"]


def geometric(keys: Keys, x: Images, *, probability: float = 0.12) -> tuple[Images, Float[jax.Array, "batch 9"]]:
    """EDM's augmentation: flips, scaling, rotation, stretching and shifts, and what was done to each image.

    Each with `probability`, the mirroring left to right always with 1/2 (arXiv:2206.00364, appendix F.2, table 6). The
    labels are what a network is told as context, zero at sampling: it then draws images nothing was done to. Images
    are continued by reflection, and resampled linearly at twice their resolution; those left alone stay exact.
    """
    height, width, _ = x.shape[1:]
    views = jax.vmap(lambda key: _view(key, height, width, probability))(keys)
    return jax.vmap(_seen)(x, views), views.label


def _view(key: jax.Array, height: int, width: int, probability: float) -> View:
    keys = jax.random.split(key, 13)

    def unless(drawn: jax.Array, key: jax.Array, chance: float = probability) -> jax.Array:
        return jnp.where(jax.random.uniform(key) < chance, drawn, 0)

    flip_x = jax.random.bernoulli(keys[0]).astype(jnp.float32)
    flip_y = unless(jax.random.bernoulli(keys[1]).astype(jnp.float32), keys[2])
    scale = unless(jax.random.normal(keys[3]), keys[4])
    angle = unless(jax.random.uniform(keys[5], minval=-jnp.pi, maxval=jnp.pi), keys[6])
    stretch = unless(jax.random.normal(keys[7]), keys[8])
    axis = unless(jax.random.uniform(keys[9], minval=-jnp.pi, maxval=jnp.pi), keys[10], 0.5)
    shift = unless(jax.random.normal(keys[11], (2,)), keys[12])

    # Inverse transforms, from the last to the first: a position in the view back to the image.
    shrink, squeeze = jnp.exp2(-0.2 * scale), jnp.exp2(-0.2 * stretch)
    turned = _rotation(-axis) @ jnp.diag(jnp.stack([squeeze, 1 / squeeze])) @ _rotation(axis)
    linear = shrink * _rotation(angle) @ turned
    offset = linear @ (-0.125 * shift * jnp.array([width, height], jnp.float32))
    label = jnp.stack(
        [flip_x, flip_y, scale, jnp.cos(angle) - 1, jnp.sin(angle), stretch * jnp.cos(axis), stretch * jnp.sin(axis)]
    )
    return View(flip_x, flip_y, jnp.concatenate([linear, offset[:, None]], 1), jnp.concatenate([label, shift]))


def _rotation(angle: jax.Array) -> Float[jax.Array, "2 2"]:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])


def _seen(image: Image, view: View) -> Image:
    """One image under a view."""
    image = jnp.where(view.flip_x > 0, image[:, ::-1], image)
    image = jnp.where(view.flip_y > 0, image[::-1], image)
    height, width, channels = image.shape
    fine = jax.image.resize(image, (2 * height, 2 * width, channels), "lanczos3")
    # Positions of the fine pixels' centres about the image's, (x, y) in pixels of the image.
    across = (jnp.arange(2 * width, dtype=image.dtype) + 0.5) / 2 - width / 2
    down = (jnp.arange(2 * height, dtype=image.dtype) + 0.5) / 2 - height / 2
    grid = jnp.stack([*jnp.meshgrid(across, down), jnp.ones((2 * height, 2 * width))])
    where = jnp.einsum("ij,jhw->ihw", view.matrix, grid)
    columns, rows = (2 * (where[i] + side / 2) - 0.5 for i, side in enumerate((width, height)))
    moved = jnp.stack(
        [
            jax.scipy.ndimage.map_coordinates(fine[..., c], [rows, columns], order=1, mode="reflect")
            for c in range(channels)
        ],
        axis=-1,
    )
    coarse = jax.image.resize(moved, image.shape, "lanczos3")
    untouched = jnp.all(view.label[2:] == 0)
    return jnp.where(untouched, image, coarse)
