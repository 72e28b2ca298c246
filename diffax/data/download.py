"""Resumable downloads with checksums: a file appears under its name only when it is complete and verified."""

import dataclasses
import errno
import hashlib
import http.client
import pathlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable

_CHUNK = 1 << 20
_TIMEOUT = 60.0


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file to download, with its size in bytes and its SHA-256 in hexadecimal."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The file name, the last part of the URL."""
        return self.url.rsplit("/", 1)[-1]


def fetch(remote: Remote, folder: pathlib.Path, *, report: Callable[[int, int], None] | None = None) -> pathlib.Path:
    """Downloads a file into `folder`, unless it is there, verifies its size and checksum and returns its path.

    After an interruption the partial file stays as NAME.partial, and the next call continues it if the server supports
    range requests.

    Args:
      report: called with the bytes downloaded so far and the size of the file.

    Raises:
      ValueError: no connection, an incomplete file, another size or checksum, or no disk space. The message is one line
        and says what to do.
    """
    path = folder / remote.name
    if path.exists():
        check(remote, path)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    partial = folder / f"{remote.name}.partial"
    have = partial.stat().st_size if partial.exists() else 0
    if free < remote.size - have:
        raise ValueError(f"{folder}: {remote.name} needs {remote.size - have:,} bytes, and {free:,} are free")
    try:
        _continue(remote, partial, report)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            partial.unlink(missing_ok=True)
            raise ValueError(f"{folder}: the disk is full; {remote.name} needs {remote.size:,} bytes") from error
        kept = f"; {partial} is kept, and the same command goes on from there" if partial.exists() else ""
        reason = getattr(error, "reason", None) or error
        raise ValueError(f"{remote.url} cannot be downloaded ({reason}){kept}. Or name a local copy") from error
    except http.client.HTTPException as error:
        raise ValueError(
            f"{remote.url}: the connection broke ({type(error).__name__}); the same command goes on from {partial}"
        ) from error
    size = partial.stat().st_size
    if size < remote.size:
        raise ValueError(
            f"{remote.url}: the connection ended after {size:,} of {remote.size:,} bytes; the same command goes on"
        )
    try:
        check(remote, partial)
    except ValueError:
        partial.unlink()  # continuing it would only fail again
        raise
    return partial.rename(path)


def check(remote: Remote, path: pathlib.Path) -> None:
    """Verifies the size and the checksum of a downloaded file. Raises ValueError."""
    size = path.stat().st_size
    if size != remote.size:
        raise ValueError(
            f"{path}: expected {remote.size:,} bytes, as {remote.url} has, got {size:,}: damaged or another file"
        )
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != remote.sha256:
        raise ValueError(f"{path}: expected SHA-256 {remote.sha256}, got {digest}: damaged or another file; delete it")


def _continue(remote: Remote, partial: pathlib.Path, report: Callable[[int, int], None] | None) -> None:
    """Downloads the rest of `partial`; all of it if the server does not support range requests."""
    have = partial.stat().st_size if partial.exists() else 0
    if have >= remote.size:
        partial.unlink()
        have = 0
    headers = {"User-Agent": "diffax"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(remote.url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        continues = have > 0 and response.status == 206
        have = have if continues else 0
        with open(partial, "ab" if continues else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                if report is not None:
                    report(have, remote.size)
                if have > remote.size:
                    break
