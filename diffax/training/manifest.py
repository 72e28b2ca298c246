"""Manifest of a checkpoint: sizes and CRC-32 checksums of its files, by which damage is noticed."""

import json
import pathlib
import zlib

FILENAME = "manifest.json"
_CHUNK = 1 << 20


def write(directory: pathlib.Path) -> None:
    """Writes down every file below `directory`, as {"relative/path": [bytes, CRC-32]}."""
    (directory / FILENAME).write_text(json.dumps(_files(directory), indent=0) + "\n")


def damage(directory: pathlib.Path) -> str | None:
    """What is wrong with the files, in a few words, or None.

    A file that is missing, longer, shorter or another than it was is noticed; reads all of them, at a gigabyte or more
    a second.
    """
    try:
        written = json.loads((directory / FILENAME).read_text())
        found = _files(directory)
    except FileNotFoundError as error:
        return f"{pathlib.Path(error.filename).name} is missing"
    except (OSError, ValueError) as error:
        return f"{FILENAME} or what it lists cannot be read ({error})"
    if not isinstance(written, dict):
        return f"{FILENAME} lists no files"
    for name in sorted({*written, *found}):
        if name not in found:
            return f"{name} is missing"
        if name not in written:
            return f"{name} was not there before"
        if written[name] != found[name]:
            return f"{name} is not what was written"
    return None


def _files(directory: pathlib.Path) -> dict[str, list[int]]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): [path.stat().st_size, _checksum(path)]
        for path in paths
        if path != directory / FILENAME
    }


def _checksum(path: pathlib.Path) -> int:
    checksum = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum
