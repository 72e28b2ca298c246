"""Image decoding with Pillow, to uint8 arrays of one shape."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

_MODES = {1: "L", 3: "RGB"}
_GREY = ("1", "L", "LA", "I", "I;16", "F")
File = str | os.PathLike | bytes


class CorruptExample(ValueError):
    """Raised for an example that cannot be decoded; the message names it."""


class Form(NamedTuple):
    """The target shape (height, width, channels) of image decoding.

    resizes: whether images of other sizes are center-cropped and resized to it; otherwise they are an error.
    """

    shape: tuple[int, int, int]
    resizes: bool

    def decode(self, file: File, where: str) -> UInt8[np.ndarray, "height width channels"]:
        """Decodes an image, applies its EXIF orientation and converts it to grey or RGB.

        Where `resizes`, the image is center-cropped and resized with antialiasing.

        Args:
          file: a path or the encoded bytes.
          where: the name of the image in error messages.

        Raises:
          CorruptExample: not an image, or a damaged one.
          ValueError: an image of another size, and `resizes` is False.
        """
        height, width, channels = self.shape
        with _opened(file, where) as image:
            upright = _upright(image)
            if upright.mode != _MODES[channels]:
                upright = upright.convert(_MODES[channels])
            if self.resizes and upright.size != (width, height):
                upright = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
            if upright.size != (width, height):
                raise ValueError(
                    f"{where}: has {upright.width} x {upright.height} pixels and the first image {width} x {height}: "
                    "set data.size to crop and resize all to one size"
                )
            pixels = np.array(upright)
        return pixels[..., None] if pixels.ndim == 2 else pixels


def form_of(first: File, where: str, *, size: int | None = None, channels: int | None = None) -> Form:
    """The target shape of a dataset's images; by default the size and the channels of its first image.

    Args:
      first: the first image, a path or encoded bytes.
      where: the name of the first image in error messages.
      size: the side of the square that all images are center-cropped and resized to; None for the first image's size.
      channels: 1 for grey, 3 for colour; None for the first image's.

    Raises:
      CorruptExample: the first image cannot be decoded.
      ValueError: an invalid size or number of channels.
    """
    if size is not None and size < 1:
        raise ValueError(f"data.size must be >= 1, got {size}")
    if channels not in (None, *_MODES):
        raise ValueError(f"data.channels must be 1 (grey) or 3 (colour), got {channels}")
    with _opened(first, where) as image:
        own_channels = 1 if image.mode in _GREY else 3
        width, height = _upright(image).size if size is None else (size, size)
    return Form((height, width, channels or own_channels), size is not None)


@contextlib.contextmanager
def _opened(file: File, where: str) -> Iterator[Image.Image]:
    """Decodes an image as it is stored. Raises CorruptExample."""
    try:
        # Read at once: Pillow asks a file for its parts by a dozen calls, as slow as decoding a small image.
        content = file if isinstance(file, bytes) else _read(file)
        image = Image.open(io.BytesIO(content))
        image.load()
    except UnidentifiedImageError as error:
        raise CorruptExample(f"{where}: unreadable image (not an image of a format that Pillow knows)") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise CorruptExample(f"{where}: unreadable image ({error})") from error
    with image:
        yield image


def _read(path: str | os.PathLike) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _upright(image: Image.Image) -> Image.Image:
    """The image with its EXIF orientation applied.

    Pillow's check takes as long as decoding a small image and few images have an orientation, hence the condition.
    """
    return ImageOps.exif_transpose(image) if "exif" in image.info or image.format == "TIFF" else image
