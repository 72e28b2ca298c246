"""Atomic file writes: a path has either the old file or the complete new one, whenever the process dies."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """An atomic write: yields a binary file that is renamed to `path` when the block ends.

    If the block raises, the new file is removed and `path` stays as it was. Missing parent directories are created. The
    file is written beside its destination, so that the rename stays within one file system.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
