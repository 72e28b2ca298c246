"""Encoded images to bytes of one shape, by Pillow."""

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
    """An example that cannot be decoded; the message names it."""


class Form(NamedTuple):
    """What images are decoded to. resizes: whether those of other sizes are cropped and resized to it."""

    shape: tuple[int, int, int]
    resizes: bool

    def decode(self, file: File, where: str) -> UInt8[np.ndarray, "height width channels"]:
        """Upright, in the mode of so many channels; where `resizes`, its central square, antialiased.

        Raises:
          CorruptExample: not an image, or a damaged one; it is called `where`.
          ValueError: another size.
        """
        height, width, channels = self.shape
        with _opened(file, where) as image:
            found = _upright(image)
            if found.mode != _MODES[channels]:
                found = found.convert(_MODES[channels])
            if self.resizes and found.size != (width, height):
                found = ImageOps.fit(found, (width, height), Image.Resampling.LANCZOS)
            if found.size != (width, height):
                raise ValueError(
                    f"{where}: has {found.size[0]} x {found.size[1]} pixels and the first image {width} x {height}: "
                    "set data.size to crop and resize all to one size"
                )
            pixels = np.array(found)
        return pixels[..., None] if pixels.ndim == 2 else pixels


def form_of(first: File, where: str, *, size: int | None = None, channels: int | None = None) -> Form:
    """What all images are decoded to, as the first one is: in its own size and colours unless told.

    Args:
      size: the side of the square that images are cropped and resized to.
      channels: 1 for grey, 3 for colour.

    Raises:
      CorruptExample: the first image, called `where`, cannot be read. ValueError: impossible size or channels.
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
    """A decoded image, or CorruptExample."""
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
    """As its EXIF orientation says; asking for it takes as long as decoding a small image, and few have one."""
    return ImageOps.exif_transpose(image) if "exif" in image.info or image.format == "TIFF" else image
