"""Images of every Pillow mode with the 8-bit values expected of them, computed by NumPy."""

import colorsys
import io
import struct
import zlib

import numpy as np
from PIL import Image

SIDE = 8
RNG = np.random.default_rng(0)
WHITE = 255.0
# What Pillow writes in each format. WebP is RGB or RGBA, and Pillow converts other modes to that as it writes.
WRITTEN = {
    "PNG": ["1", "L", "LA", "P", "P+transparency", "RGB", "RGBA", "I;16", "I;16B"],
    "TIFF": [
        *("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I;16L"),
        *("I", "F", "F+large"),
    ],
    "JPEG": ["1", "L", "RGB", "RGBX", "CMYK", "YCbCr"],
    "WEBP": ["1", "L", "LA", "P", "P+transparency", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"],
    "GIF": ["1", "L", "P", "P+transparency", "RGB"],
}
COMBINATIONS = [(mode, kind) for kind, modes in WRITTEN.items() for mode in modes]
REFUSED = {("I", "TIFF"): "signed or 32-bit integer pixels", ("F+large", "TIFF"): r"float pixels must lie in \[0, 1\]"}
# Levels by which an image may be off: rounding, and what a lossy format or a palette loses on flat images.
TOLERANCE = {"JPEG": 6, "GIF": 1, "WEBP": 2, "PNG": 1, "TIFF": 1}


def bands(mode):
    """Flat quarters of random levels: what lossy formats and palettes of 256 colours keep."""
    count = {"1": 1, "L": 1, "LA": 2, "PA": 2, "RGBA": 4, "RGBa": 4, "RGBX": 4, "CMYK": 4}.get(mode, 3)
    return np.kron(RNG.integers(0, 256, (2, 2, count)), np.ones((SIDE // 2, SIDE // 2, 1), int)).astype(np.uint8)


def picture(mode):
    """(an image of a mode, the values expected of it in float64, (height, width, 1 or 3))."""
    base = mode.partition("+")[0]
    values = bands(base)
    exact = values.astype(np.float64)
    if base in ("L", "RGB"):
        return Image.fromarray(values.squeeze()), exact
    if base == "1":
        return Image.fromarray(values[..., 0] > 127), np.where(values > 127, 255.0, 0.0)
    if base in ("LA", "RGBA"):
        alpha = exact[..., -1:] / 255
        return Image.fromarray(values), exact[..., :-1] * alpha + WHITE * (1 - alpha)
    if base == "RGBa":  # premultiplied
        alpha = np.full_like(values[..., 3:], 128)
        image = Image.fromarray(np.dstack([values[..., :3], alpha]))
        return image.convert("RGBa"), exact[..., :3] * 128 / 255 + WHITE * 127 / 255
    if base == "RGBX":
        return Image.frombytes("RGBX", (SIDE, SIDE), values.tobytes()), exact[..., :3]
    if base == "CMYK":
        return Image.fromarray(values, "CMYK"), (255 - exact[..., :3]) * (255 - exact[..., 3:]) / 255
    if base in ("YCbCr", "LAB", "HSV"):
        values = values // 4 + np.array([120, 96, 96], np.uint8)  # inside the gamut
        if base == "LAB":
            values[..., 1:] -= 128  # signed
        to_rgb = {"YCbCr": from_ycbcr, "LAB": from_lab, "HSV": from_hsv}[base]
        return Image.frombytes(base, (SIDE, SIDE), values.tobytes()), to_rgb(values)
    if base in ("P", "PA"):
        return palette_picture(mode)
    return deep_picture(mode)


def palette_picture(mode):
    colours = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
    indices = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) // 4
    image, expected = Image.fromarray(indices, "P"), colours[indices].astype(np.float64)
    image.putpalette(colours.tobytes())
    if mode == "P+transparency":
        image.info["transparency"] = 5
        expected[indices == 5] = WHITE
    if mode == "PA":
        image = image.convert("PA")
        image.putalpha(Image.fromarray(np.where(indices == 5, 0, 255).astype(np.uint8)))
        expected[indices == 5] = WHITE
    return image, expected


def deep_picture(mode):
    """16 bits, 32-bit integers and floats."""
    levels = RNG.integers(0, 65536, (SIDE, SIDE))
    if mode.startswith("F"):
        values = (levels / 65535).astype(np.float32) * (200 if mode == "F+large" else 1)
        return Image.fromarray(values), np.round(values.astype(np.float64) * 255)[..., None]
    if mode == "I":
        return Image.fromarray(levels.astype(np.int32)), None
    image = Image.frombytes(mode, (SIDE, SIDE), levels.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    return image, np.floor(levels / 256)[..., None]


def from_ycbcr(values):
    """ITU-R BT.601 of full range, as JFIF has it."""
    y, cb, cr = np.moveaxis(values.astype(np.float64), -1, 0)
    cb, cr = cb - 128, cr - 128
    return np.clip(np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1), 0, 255)


def from_hsv(values):
    return np.array([[colorsys.hsv_to_rgb(*(pixel / 255)) for pixel in row] for row in values]) * 255


def from_lab(values):
    """CIELAB of D50 to sRGB, by the Bradford-adapted matrix."""
    lightness = values[..., 0] / 255 * 100
    a, b = (values[..., i].view(np.int8).astype(np.float64) for i in (1, 2))
    fy = (lightness + 16) / 116
    f = np.stack([fy + a / 500, fy, fy - b / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * np.array([0.9642, 1, 0.8249])
    red, green = [3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.033454]
    linear = np.clip(xyz @ np.array([red, green, [0.0719453, -0.2289914, 1.4052427]]).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}), **options)
    return file.getvalue()


def encode(mode, image, kind):
    lossless = {"lossless": True} if kind == "WEBP" else {}
    transparency = {"transparency": 5} if mode == "P+transparency" else {}
    return encoded(image, kind, **lossless, **transparency)


def png(width, height, bits, colour_type, rows, transparency=None):
    """A PNG file of raw rows, for depths that Pillow does not write."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    middle = b"" if transparency is None else chunk(b"tRNS", transparency)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
