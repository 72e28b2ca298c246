"""Pixel values: images of every Pillow mode and bit depth as 8-bit grey or RGB, composited on a background.

16-bit values keep their high byte, v >> 8, as Pillow does for 16-bit RGB, which it reads as 8-bit: an 8-bit image that
was stored in 16 bits, as v << 8 or as 257 v, comes back exactly. Float images must lie in [0, 1]. 32-bit and signed
integers have no stated range and are refused.
"""

import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image

MODES = {1: "L", 3: "RGB"}
Colour = tuple[int, int, int]
_NAMED_COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255)}
# The factors from the stored level of a PNG of 2 or 4 bits to that of 8 bits.
_PNG_FACTORS = {"L;2": 85, "L;4": 17}
_WHITE_IS_ZERO, _PHOTOMETRIC, _BITS_PER_SAMPLE = 0, 262, 258


class UnsupportedPixels(ValueError):
    """Raised for pixel values whose scale to 8 bits is not known; the message says which."""


class Stored(NamedTuple):
    """What the file of an image says of its pixels, beyond Pillow's mode.

    raw_mode: Pillow's name of the layout in the file, such as RGB;16B.
    bits: of an unsigned sample, where Pillow keeps more than 8; None for signed and 32-bit integers.
    inverted: whether 0 is white in an image whose mode Pillow does not invert itself.
    """

    raw_mode: str
    bits: int | None
    inverted: bool

    @classmethod
    def of(cls, image: Image.Image) -> "Stored":
        """Reads it from an image that is opened but not loaded."""
        # One tile is (codec, extents, offset, arguments), whose first argument is the raw mode.
        tiles = getattr(image, "tile", None)
        arguments = tiles[0][3] if tiles else ()
        raw_mode = arguments if isinstance(arguments, str) else next(iter(arguments or ()), image.mode)
        tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
        bits = (tags.get(_BITS_PER_SAMPLE) or (16,))[0]
        if image.mode == "I":
            bits = 16 if image.format == "PPM" or raw_mode in ("I;16", "I;16B") else None
        inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO and image.mode[0] in "IF"
        return cls(str(raw_mode), bits, inverted)


def parse_colour(name: str) -> Colour:
    """The setting data.background as (red, green, blue), 0 .. 255.

    Raises:
      ValueError: neither black, white nor #rrggbb.
    """
    if name in _NAMED_COLOURS:
        return _NAMED_COLOURS[name]
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", name):
        raise ValueError(f"data.background must be black, white or #rrggbb, got {name!r}")
    return int(name[1:3], 16), int(name[3:5], 16), int(name[5:7], 16)


def num_channels(image: Image.Image, stored: Stored) -> int:
    """1 for a grey image, 3 for a colour one, by its header: mode and palette."""
    if image.mode in ("P", "PA") and image.palette is not None:
        palette = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return 1 if (palette == palette[:, :1]).all() else 3
    is_grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
    return 1 if is_grey or stored.raw_mode.startswith("LA;") else 3


def to_8_bits(image: Image.Image, stored: Stored, channels: int, background: Colour) -> Image.Image:
    """Converts a loaded image to mode L (channels 1) or RGB (3), with transparent pixels composited on `background`.

    Raises:
      UnsupportedPixels: integers or floats whose scale to 8 bits is not known.
    """
    target = MODES[channels]
    if image.mode == target and "transparency" not in image.info:
        return image
    if image.mode[0] in "IF":
        image = _reduced(image, stored)
    elif "transparency" in image.info:
        image = _with_alpha(image, stored)
    if image.has_transparency_data:
        if image.mode == "La":
            image = image.convert("LA")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), image)
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")
    return image.convert(target)


def high_byte(values: Num[np.ndarray, "*dims"], bits: int = 16) -> UInt8[np.ndarray, "*dims"]:
    """The eight highest of `bits` bits."""
    return (values >> (bits - 8)).astype(np.uint8)


def _reduced(image: Image.Image, stored: Stored) -> Image.Image:
    """A 16-bit, integer or float image as L, or as LA where one level stands for transparent."""
    values = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise UnsupportedPixels(f"float pixels must lie in [0, 1], got {values.min():g} to {values.max():g}")
        pixels = np.floor(values * 255 + 0.5).astype(np.uint8)
    elif stored.bits is None:
        raise UnsupportedPixels(
            f"signed or 32-bit integer pixels have no stated scale to 8 bits (here {values.min()} to {values.max()}): "
            "store 8 or 16 bits"
        )
    else:
        pixels = high_byte(values, stored.bits)
    result = Image.fromarray(255 - pixels if stored.inverted else pixels)
    if (level := image.info.get("transparency")) is not None:
        result.putalpha(Image.fromarray(np.where(values == level, 0, 255).astype(np.uint8)))
    return result


def _with_alpha(image: Image.Image, stored: Stored) -> Image.Image:
    """The image with the transparent level of its header in the units of its pixels, which Pillow leaves as stored."""
    level = image.info["transparency"]
    if image.mode == "RGB" and stored.raw_mode.endswith(("16B", "16L")):
        raise UnsupportedPixels("16-bit colours of which one stands for transparent; store an alpha channel or 8 bits")
    if stored.raw_mode in _PNG_FACTORS and isinstance(level, int):
        image = image.copy()
        image.info["transparency"] = level * _PNG_FACTORS[stored.raw_mode]
    return image
