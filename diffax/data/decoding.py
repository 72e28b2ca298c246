"""Image decoding with Pillow, to uint8 arrays of one shape."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from diffax.data import pixels

File = str | os.PathLike | bytes
_ORIENTATION, _TURNED = 0x0112, range(5, 9)


class CorruptExample(ValueError):
    """Raised for an example that cannot be decoded; the message names it."""


class Header(NamedTuple):
    """What the header of an image says: its upright size, grey (1) or colour (3), transparency and animation."""

    width: int
    height: int
    channels: int
    is_transparent: bool
    is_animated: bool
    is_deep: bool


class Form(NamedTuple):
    """The target shape (height, width, channels) of image decoding.

    resizes: whether images of other sizes are center-cropped and resized to it; otherwise they are an error.
    background: the colour on which transparent pixels are composited.
    """

    shape: tuple[int, int, int]
    resizes: bool
    background: pixels.Colour = (255, 255, 255)

    def decode(self, file: File, where: str) -> UInt8[np.ndarray, "height width channels"]:
        """Decodes an image, applies its EXIF orientation and converts it to 8-bit grey or RGB (`data.pixels`).

        Of an animation that is the first frame. Where `resizes`, the image is center-cropped and resized with
        antialiasing.

        Args:
          file: a path or the encoded bytes.
          where: the name of the image in error messages.

        Raises:
          CorruptExample: not an image, a damaged one, or one whose pixel values have no known scale to 8 bits.
          ValueError: an image of another size, and `resizes` is False.
        """
        height, width, channels = self.shape
        with _opened(file, where) as image, _damaged(where):
            stored = pixels.Stored.of(image)
            image.load()
            upright = pixels.to_8_bits(_upright(image), stored, channels, self.background)
            if self.resizes and upright.size != (width, height):
                upright = ImageOps.fit(upright, (width, height), Image.Resampling.LANCZOS)
            decoded = np.array(upright)
        if decoded.shape[:2] != (height, width):
            raise ValueError(
                f"{where}: has {decoded.shape[1]} x {decoded.shape[0]} pixels and most images {width} x {height}: "
                "set data.size to crop and resize all to one size"
            )
        return decoded[..., None] if decoded.ndim == 2 else decoded


def header(file: File, where: str) -> Header:
    """Reads the header of an image, without decoding its pixels. Raises CorruptExample."""
    with _opened(file, where) as image, _damaged(where):
        stored = pixels.Stored.of(image)
        # Of other files Pillow looks for an orientation behind the pixels.
        turned = _has_exif(image) and image.getexif().get(_ORIENTATION) in _TURNED
        width, height = reversed(image.size) if turned else image.size
        return Header(
            width=width,
            height=height,
            channels=pixels.num_channels(image, stored),
            is_transparent=image.has_transparency_data,
            is_animated=bool(getattr(image, "is_animated", False)),
            is_deep=stored.raw_mode.partition(";")[2].startswith("16") or image.mode[0] in "IF",
        )


@contextlib.contextmanager
def _opened(file: File, where: str) -> Iterator[Image.Image]:
    """Opens an image without decoding it. Raises CorruptExample."""
    with _damaged(where):
        # Read at once: Pillow asks a file for its parts by a dozen calls, as slow as decoding a small image.
        content = file if isinstance(file, bytes) else _read(file)
        image = Image.open(io.BytesIO(content))
        if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            # Pillow itself warns here, and refuses twice as many.
            raise CorruptExample(
                f"{where}: {image.width} x {image.height} pixels are more than PIL.Image.MAX_IMAGE_PIXELS"
            )
    with image:
        yield image


@contextlib.contextmanager
def _damaged(where: str) -> Iterator[None]:
    """Turns what Pillow raises on a damaged image into a CorruptExample of one line."""
    try:
        yield
    except CorruptExample:
        raise
    except UnidentifiedImageError as error:
        raise CorruptExample(f"{where}: unreadable image (not an image of a format that Pillow knows)") from error
    except pixels.UnsupportedPixels as error:
        raise CorruptExample(f"{where}: {error}") from error
    except Exception as error:  # parsers of damaged files raise whatever they stumble over
        message = " ".join(str(error).split()) or type(error).__name__
        raise CorruptExample(f"{where}: unreadable image ({message})") from error


def _read(path: str | os.PathLike) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _has_exif(image: Image.Image) -> bool:
    """Whether an image may have an EXIF orientation.

    Pillow's own check takes as long as decoding a small image, and few images have an orientation.
    """
    return "exif" in image.info or image.format == "TIFF"


def _upright(image: Image.Image) -> Image.Image:
    """The image with its EXIF orientation applied."""
    return ImageOps.exif_transpose(image) if _has_exif(image) else image
