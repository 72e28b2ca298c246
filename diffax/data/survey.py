"""A survey of a data set's image headers: the size and channels of the majority, and what differs from them."""

import collections
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from diffax.data import decoding, pixels

# More headers than that take seconds to read from a network file system, and tell no more.
MAX_HEADERS = 4096


def form_of(
    files: Callable[[int], decoding.File],
    num_files: int,
    where: Callable[[int], str],
    *,
    size: int | None = None,
    channels: int | None = None,
    background: str = "white",
) -> tuple[decoding.Form, tuple[str, ...]]:
    """The target shape of a data set's images, and one-line notes on the images that are changed to fit it.

    The headers of at most MAX_HEADERS images, evenly spaced, are read; unreadable ones do not count.

    Args:
      files: the index of an image to its path or encoded bytes.
      where: the index of an image to its name in messages.
      size: the side of the square that all images are center-cropped and resized to; None for the size of the majority.
      channels: 1 for grey, 3 for colour; None for the channels of the majority.
      background: the colour on which transparent pixels are composited: black, white or #rrggbb.

    Raises:
      CorruptExample: no image can be read.
      ValueError: an invalid size, number of channels or background.
    """
    if size is not None and size < 1:
        raise ValueError(f"data.size must be >= 1, got {size}")
    if channels not in (None, *pixels.MODES):
        raise ValueError(f"data.channels must be 1 (grey) or 3 (colour), got {channels}")
    ground = pixels.parse_colour(background)
    headers, names, last = [], [], None
    for index in _evenly_spaced(num_files):
        try:
            headers.append(decoding.header(files(index), where(index)))
            names.append(where(index))
        except decoding.CorruptExample as error:
            last = last or error
    if not headers:
        raise decoding.CorruptExample(f"none of {num_files} images can be read; {last}") from last
    width, height = _most_common((header.width, header.height) for header in headers)
    majority = channels or _most_common(header.channels for header in headers)
    shape = (height, width, majority) if size is None else (size, size, majority)
    return decoding.Form(shape, size is not None, ground), _notes(headers, names, num_files, majority, background)


def _notes(
    headers: Sequence[decoding.Header], names: Sequence[str], num_files: int, channels: int, background: str
) -> tuple[str, ...]:
    """One line for each way in which images are changed, with their number and the first of them."""
    wanted, other = ("grey", "colour") if channels == 1 else ("colour", "grey")
    kinds = [
        (f"{other} and become {wanted} (data.channels)", [header.channels != channels for header in headers]),
        (f"transparent, on a {background} background (data.background)", [h.is_transparent for h in headers]),
        ("animated, of which the first frame is taken", [header.is_animated for header in headers]),
        ("of more than 8 bits a sample, reduced to 8", [header.is_deep for header in headers]),
    ]
    looked_at = f"{len(headers):,} images" + (" looked at" if num_files > MAX_HEADERS else "")
    return tuple(
        f"{sum(differs):,} of {looked_at} are {what}: {names[differs.index(True)]}"
        for what, differs in kinds
        if any(differs)
    )


def _evenly_spaced(num_files: int) -> Iterable[int]:
    if num_files <= MAX_HEADERS:
        return range(num_files)
    return np.linspace(0, num_files - 1, MAX_HEADERS).astype(int).tolist()


def _most_common(values: Iterable[Any]) -> Any:
    """The most frequent value; of equally frequent ones the first."""
    return collections.Counter(values).most_common(1)[0][0]
