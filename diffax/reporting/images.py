"""Image grids of a batch of images, PNG files and .npz archives."""

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

from diffax.reporting import atomic

# The grey value between the images of a grid, which differs from black and from white backgrounds.
PADDING_VALUE = 128
# The rule of `to_uint8`, as records of metrics name it.
ROUNDING = "to the nearest of 256 levels: rint(127.5 (x + 1)), clipped to 0..255"
# Small images of a batch are enlarged to about this height, in pixels.
VISIBLE_SIZE = 48


def to_uint8(images: npt.ArrayLike) -> UInt8[np.ndarray, "*dims"]:
    """Converts pixels in [-1, 1] to 0 .. 255, rounded (`ROUNDING`). Values outside are clipped and NaN becomes 0."""
    images = np.asarray(images, np.float32)
    return np.rint(np.clip(np.nan_to_num((images + 1) * 127.5, nan=0.0), 0, 255)).astype(np.uint8)


def grid(
    images: npt.ArrayLike, num_columns: int | None = None, pad: int = 1
) -> UInt8[np.ndarray, "rows columns channels"]:
    """An image grid: images (n, height, width, channels) in [-1, 1], row by row, with `pad` grey pixels around each.

    One channel is grey and three are red, green and blue. Any other number is shown as planes: the channels of an image
    side by side, each as a grey image. Unused places in the last row stay grey.

    Args:
        num_columns: None for about as many columns as rows.

    Raises:
        ValueError: another shape, no images, or num_columns < 1.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.size == 0:
        raise ValueError(f"expected images (n, height, width, channels), n >= 1, got shape {images.shape}")
    if images.shape[-1] not in (1, 3):
        images = np.concatenate(np.split(images, images.shape[-1], axis=-1), axis=2)
    n, height, width, channels = images.shape
    num_columns = math.ceil(math.sqrt(n)) if num_columns is None else num_columns
    if num_columns < 1:
        raise ValueError(f"num_columns must be >= 1, got {num_columns}")
    num_columns = min(num_columns, n)
    num_rows = math.ceil(n / num_columns)
    cells = np.full((num_rows * num_columns, height + pad, width + pad, channels), PADDING_VALUE, np.uint8)
    cells[:n, :height, :width] = to_uint8(images)
    rows = cells.reshape(num_rows, num_columns, height + pad, width + pad, channels).swapaxes(1, 2)
    joined = rows.reshape(num_rows * (height + pad), num_columns * (width + pad), channels)
    return np.pad(joined, ((pad, 0), (pad, 0), (0, 0)), constant_values=PADDING_VALUE)


def picture(
    images: npt.ArrayLike, scale: int | None = None, num_columns: int | None = None
) -> UInt8[np.ndarray, "rows columns channels"]:
    """The enlarged grid of images (n, height, width, channels) in [-1, 1], or an enlarged uint8 picture.

    Args:
        images: the batch, shown as by `grid`, or one uint8 picture (height, width, 1 or 3).
        scale: the enlargement: every pixel becomes scale x scale pixels (nearest neighbour). None enlarges a batch of
            small images until each is about 48 pixels high, and leaves a picture as it is.
        num_columns: of the grid.

    Raises:
        ValueError: another shape or dtype, or scale < 1.
    """
    images = np.asarray(images)
    if images.ndim == 4:
        scale = max(1, round(VISIBLE_SIZE / images.shape[1])) if scale is None else scale
        images = grid(images, num_columns)
    scale = 1 if scale is None else scale
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[-1] not in (1, 3):
        raise ValueError(f"expected a uint8 picture (height, width, 1 or 3), got {images.dtype} {images.shape}")
    if scale < 1:
        raise ValueError(f"scale must be >= 1, got {scale}")
    return images.repeat(scale, axis=0).repeat(scale, axis=1)


def save_png(path: str | os.PathLike, images: npt.ArrayLike, *, scale: int | None = None) -> None:
    """Writes `picture(images, scale)` as a PNG file; the write is atomic.

    Raises:
        ValueError: as for `picture`.
    """
    from PIL import Image

    pixels = picture(images, scale)
    with atomic.replacing(path) as file:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, format="PNG")


def save_npz(path: str | os.PathLike, **arrays: npt.ArrayLike) -> None:
    """Writes named arrays as a compressed .npz archive without pickles; the write is atomic.

    Raises:
        ValueError: an array of Python objects.
    """
    as_numpy: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in as_numpy.items():
        if array.dtype.hasobject:
            raise ValueError(f"array {name!r} holds Python objects, which .npz can only pickle; convert it to numbers")
    with atomic.replacing(path) as file:
        np.savez_compressed(file, allow_pickle=False, **as_numpy)
