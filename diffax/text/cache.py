"""A persistent cache of encoded texts: one SQLite file per encoder in the user's cache directory.

A file belongs to one name, version, form and max_tokens of an encoder; its key is the text. Every few hundred texts are
one transaction, so that a killed run goes on where it was, and processes may share a file.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from diffax import devices
from diffax.text.encoder import Encoder, checked_texts

Report = Callable[[int, int], None]

# Texts encoded before they are committed.
CHUNK = 256
_LOOKED_UP_AT_ONCE = 500
_SECONDS_TO_WAIT = 60.0  # for another process's transaction
_TABLE = """CREATE TABLE IF NOT EXISTS encoded (
    text BLOB PRIMARY KEY, length INTEGER NOT NULL, width INTEGER NOT NULL, crc32 INTEGER NOT NULL, data BLOB NOT NULL
)"""
# What SQLite calls a file that is none of its own, or has another table; and a file that it cannot open or write.
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_FORMAT")
_UNUSABLE = tuple(
    f"SQLITE_{name}"
    for name in ("CANTOPEN", "READONLY", "PERM", "AUTH", "FULL", "IOERR", "BUSY", "LOCKED", "PROTOCOL", "NOLFS")
)


def encoded(encoder: Encoder, texts: Sequence[str], *, report: Report | None = None) -> list[np.ndarray]:
    """The encoder's results for texts, from the cache where it has them; each distinct text is encoded once.

    Equal texts share one read-only float32 array. A cache that cannot be opened or written is left out.

    Args:
      report: called with the texts encoded so far and the number of those to encode, if there are any.

    Raises:
      ValueError: a damaged cache file, which the message says to delete; vectors of another width than the cached ones;
        or what the encoder raises.
    """
    texts = checked_texts(texts)
    distinct = list(dict.fromkeys(texts))
    cache = Cache(path_of(encoder))
    results = cache.read(distinct)
    missing = sorted((text for text in distinct if text not in results), key=len)  # a batch is of texts of one length
    for start in range(0, len(missing), CHUNK):
        if report is not None and start == 0:
            report(0, len(missing))
        chunk = missing[start : start + CHUNK]
        # Another process may have encoded them in the meantime.
        results |= cache.read(chunk) if start else {}
        remaining = [text for text in chunk if text not in results]
        new = dict(zip(remaining, map(_read_only, encoder(remaining)), strict=True))
        _check_widths(encoder, results, new, cache.path)
        cache.write(new)
        results |= new
        if report is not None:
            report(start + len(chunk), len(missing))
    return [results[text] for text in texts]


def path_of(encoder: Encoder) -> pathlib.Path:
    """The cache file of an encoder."""
    key = json.dumps([encoder.name, encoder.version, encoder.form, encoder.max_tokens])
    readable = re.sub(r"[^\w.-]+", "-", encoder.name)[-40:].strip("-.")
    name = f"{readable}-{encoder.form}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.sqlite"
    return devices.cache_directory() / "text" / name


class Cache:
    """Arrays by text in an SQLite file; without effect where the file cannot be opened or written."""

    def __init__(self, path: pathlib.Path):
        self.path = path

    def read(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """The arrays that the file has. Raises ValueError for a damaged file."""
        found: dict[str, np.ndarray] = {}
        if not os.path.exists(self.path):
            return found
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_SECONDS_TO_WAIT)) as connection:
                if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'encoded'").fetchone():
                    return found  # another process is about to write the table
                for start in range(0, len(texts), _LOOKED_UP_AT_ONCE):
                    keys = [text.encode() for text in texts[start : start + _LOOKED_UP_AT_ONCE]]
                    places = ",".join("?" * len(keys))
                    query = f"SELECT text, length, width, crc32, data FROM encoded WHERE text IN ({places})"
                    for key, *row in connection.execute(query, keys):
                        found[key.decode()] = self._array(*row)
        except sqlite3.Error as error:
            self._raise_unless_unusable(error)
        return found

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        """Adds arrays in one transaction; texts that the file has stay. Raises ValueError for a damaged file."""
        rows = []
        for text, array in arrays.items():
            length = len(array) if array.ndim == 2 else 0  # 0: one vector
            data = array.tobytes()
            rows.append((text.encode(), length, array.shape[-1], zlib.crc32(data), data))
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_SECONDS_TO_WAIT)) as connection, connection:
                connection.execute(_TABLE)
                connection.executemany("INSERT OR IGNORE INTO encoded VALUES (?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._raise_unless_unusable(error)

    def _raise_unless_unusable(self, error: sqlite3.Error) -> None:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(_DAMAGED):
            self._refuse(str(error), error)
        if not name.startswith(_UNUSABLE):
            raise error

    def _array(self, length: int, width: int, crc32: int, data: bytes) -> np.ndarray:
        if zlib.crc32(data) != crc32 or len(data) != 4 * width * (length or 1):
            self._refuse("checksum mismatch")
        array = np.frombuffer(data, np.float32)
        return array.reshape(length, width) if length else array

    def _refuse(self, problem: str, cause: Exception | None = None) -> NoReturn:
        raise ValueError(
            f"{self.path}: the cache of encoded texts is damaged ({problem}); delete it to encode the texts again"
        ) from cause


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()  # a cut sequence would keep the whole one alive
    array.flags.writeable = False
    return array


def _check_widths(
    encoder: Encoder, before: dict[str, np.ndarray], new: dict[str, np.ndarray], path: pathlib.Path
) -> None:
    """A function that has changed under the version that it had returns vectors that do not fit the cached ones."""
    if before and new:
        first, latest = (next(iter(arrays.values())).shape[-1] for arrays in (before, new))
        if first != latest:
            raise ValueError(
                f"text encoder {encoder.name!r}: vectors of {latest} numbers, but others of {first} under the same "
                f"version {encoder.version!r}: give it another version, or delete {path}"
            )
