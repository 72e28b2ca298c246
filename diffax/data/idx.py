"""The idx file format of MNIST: a header of big-endian numbers, then bytes; optionally compressed by gzip."""

import gzip
import math
import pathlib
import zlib

import numpy as np
from jaxtyping import UInt8

_UNSIGNED_BYTE = 0x08


def read(path: pathlib.Path) -> UInt8[np.ndarray, "..."]:
    """Reads the array of an idx file of unsigned bytes.

    Raises:
      ValueError: another kind of file, or a damaged or truncated one; the message names it.
    """
    with open(path, "rb") as file:
        content = file.read()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file ({error})") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE or not content[3]:
        raise ValueError(
            f"{path}: expected an idx file of unsigned bytes (it begins 0 0 8 n), got {content[:4].hex(' ')}"
        )
    num_axes = content[3]
    if len(content) < 4 + 4 * num_axes:
        raise ValueError(f"{path}: expected a header of {4 + 4 * num_axes} bytes, got {len(content)}: damaged")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", num_axes, 4))
    expected, got = math.prod(shape), len(content) - 4 - 4 * num_axes
    if got != expected:
        raise ValueError(f"{path}: expected {expected:,} bytes for an array of shape {shape}, got {got:,}: damaged")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * num_axes).reshape(shape)
