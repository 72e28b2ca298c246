"""Sharded arrays: rows of named arrays in the files START-STOP.npz of a directory, as runs.sample_sets writes them."""

import pathlib
import re
from collections.abc import Iterator

import numpy as np

# The file of a set that says what made it, JSON.
DESCRIPTION = "set.json"
_REMEDY = "delete it, and the command that made it writes it anew"
_NAME = re.compile(r"(\d{8,})-(\d{8,})\.npz")


def filename(start: int, stop: int) -> str:
    """The name of the shard of rows start <= row < stop."""
    return f"{start:08d}-{stop:08d}.npz"


def listed(directory: pathlib.Path) -> list[tuple[int, int, pathlib.Path]]:
    """(start, stop, path) of the shards that follow each other from row 0 on without a gap."""
    longest = {shard[0]: shard for shard in found(directory)}  # of those that start alike, the last is the longest
    shards, row = [], 0
    while row in longest:
        shards.append(longest[row])
        row = longest[row][1]
    return shards


def count(directory: pathlib.Path) -> int:
    """The number of rows from row 0 on without a gap."""
    shards = listed(directory)
    return shards[-1][1] if shards else 0


def read(directory: pathlib.Path) -> Iterator[dict[str, np.ndarray]]:
    """The named arrays of one shard after the other.

    Raises:
      ValueError: a shard that is damaged or has another number of rows than its name says.
    """
    for start, stop, path in listed(directory):
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive}
        except Exception as error:  # NumPy's parser of a damaged file raises errors of many kinds
            message = " ".join(str(error).split())
            raise ValueError(f"{path} cannot be read ({message}): {_REMEDY}") from error
        if any(len(array) != stop - start for array in arrays.values()):
            raise ValueError(f"{path} does not hold {stop - start} rows: {_REMEDY}")
        yield arrays


def found(directory: pathlib.Path) -> list[tuple[int, int, pathlib.Path]]:
    """(start, stop, path) of all shards in order, those included that a longer one replaces."""
    if not directory.is_dir():
        return []
    matches = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted((int(match[1]), int(match[2]), path) for match, path in matches if match is not None)
