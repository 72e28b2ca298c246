"""Linear measurement operators for inverse problems: masking, downsampling and blur."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from diffax.typing import Array

Image = Float[jax.Array, "batch height width channels"]
Measure = Callable[[jax.Array], jax.Array]


def masked(mask: Array) -> Measure:
    """Masking, for inpainting: x where mask is true and 0 elsewhere.

    mask broadcasts to one sample, which may have any shape.
    """
    kept = jnp.asarray(mask, bool)
    return lambda x: jnp.where(kept, x, 0)


def downsampled(factor: int) -> Measure:
    """Downsampling, for super-resolution: the mean of every factor x factor square of images (batch, h, w, channels).

    Raises:
      ValueError: when called, a height or width that factor does not divide.
    """

    def measure(x: Image) -> Float[jax.Array, "batch squares_down squares_across channels"]:
        batch, height, width, channels = x.shape
        if height % factor or width % factor:
            raise ValueError(f"downsampled({factor}) needs sides it divides, got {height} x {width}")
        squares = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
        return squares.mean(axis=(2, 4))

    return measure


def blurred(std: float, *, radius: int | None = None) -> Measure:
    """Gaussian blur, for deblurring, with zeros beyond the border of images (batch, h, w, channels).

    Args:
      std: the standard deviation in pixels.
      radius: of the kernel, in pixels; three standard deviations unless given.
    """
    radius = max(round(3 * std), 1) if radius is None else radius
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / std) ** 2)
    kernel = kernel / kernel.sum()

    def along(x: Image, axis: int) -> Image:
        padding = [(0, 0)] * x.ndim
        padding[axis] = (radius, radius)
        padded, size = jnp.pad(x, padding), x.shape[axis]
        shifted = [jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(2 * radius + 1)]
        return sum((float(weight) * part for weight, part in zip(kernel, shifted, strict=True)), jnp.zeros_like(x))

    return lambda x: along(along(x, 1), 2)
