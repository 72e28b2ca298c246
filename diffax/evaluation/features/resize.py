"""Resizes of uint8 images as feature extractors need them: Pillow's, antialiased, and TensorFlow 1's, which is not.

Frechet distances move by more than most models differ if another resize is used (arXiv:2104.11222).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, UInt8
from PIL import Image

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def pillow(
    images: UInt8[np.ndarray, "n height width channels"], size: int, *, filter: str
) -> UInt8[np.ndarray, "n size size channels"]:
    """Resizes the whole of each image to (size, size) by Pillow: antialiased, rounded to uint8 after each axis.

    An image of that size is returned unchanged.

    Args:
      filter: "bicubic" (with a = -0.5) or "bilinear".
    """
    if images.shape[1:3] == (size, size):
        return images
    method, grey = _FILTERS[filter], images.shape[-1] == 1
    resized = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
    for image, target in zip(images, resized, strict=True):
        picture = Image.fromarray(image[..., 0] if grey else image)
        target[...] = np.asarray(picture.resize((size, size), method)).reshape(target.shape)
    return resized


def tensorflow1_bilinear(
    images: Num[Array, "n height width channels"], size: int
) -> Float[Array, "n size size channels"]:
    """ResizeBilinear of TensorFlow 1 to (size, size), float32, as in the graph of the 2015 Inception.

    align_corners and half_pixel_centers are false: pixel i of the result lies at i * height / size of the image. There
    is no antialiasing and no rounding.
    """
    images = images.astype(jnp.float32)
    for axis in (2, 1):  # TensorFlow's order
        length = images.shape[axis]
        position = np.arange(size, dtype=np.float32) * np.float32(length / size)
        low = np.minimum(position.astype(np.int32), length - 1)
        high = np.minimum(low + 1, length - 1)
        fraction = np.expand_dims(position - low, [other for other in range(4) if other != axis])
        at_low, at_high = (jnp.take(images, jnp.asarray(index), axis=axis) for index in (low, high))
        images = at_low + (at_high - at_low) * jax.lax.convert_element_type(fraction, jnp.float32)
    return images


def bicubic(images: Float[Array, "n height width channels"], size: int) -> Float[Array, "n size size channels"]:
    """Pillow's antialiased bicubic resize as a differentiable function, without its rounding: floats of any range."""
    return jax.image.resize(images, (len(images), size, size, images.shape[-1]), "bicubic", antialias=True)


def bicubic_matrix(size: int, new_size: int, *, scale: float) -> Float[np.ndarray, "new_size size"]:
    """The float64 matrix of PyTorch's bicubic interpolation (a = -0.75, edges repeated, no antialiasing) of one axis.

    Args:
      scale: position i of the result lies at (i + 1/2) / scale - 1/2; new_size / size unless the caller of PyTorch gave
        a scale factor.
    """
    position = (np.arange(new_size) + 0.5) / scale - 0.5
    low = np.floor(position).astype(int)
    matrix = np.zeros((new_size, size))
    for tap in range(-1, 3):
        weight = _cubic(np.abs(position - low - tap), a=-0.75)
        np.add.at(matrix, (np.arange(new_size), np.clip(low + tap, 0, size - 1)), weight)
    return matrix


def _cubic(x: np.ndarray, *, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (IEEE TASSP 29, 1981) at distances x >= 0."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
