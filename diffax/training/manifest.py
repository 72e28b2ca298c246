"""Manifest of a checkpoint: sizes and CRC-32 checksums of its files, by which damage is noticed."""

import concurrent.futures
import json
import pathlib
import zlib

from diffax.reporting import atomic

FILENAME = "manifest.json"
_CHUNK = 1 << 20


def write(directory: pathlib.Path) -> None:
    """Writes down every file below `directory`, as {"relative/path": [bytes, CRC-32]}."""
    (directory / FILENAME).write_text(json.dumps(_files(directory), indent=0) + "\n")


def replace(directory: pathlib.Path, name: str, content: bytes) -> None:
    """Replaces one of the files. Whenever the process dies, the manifest fits the file that is there, old or new.

    The entry of the file becomes a list of both, [[bytes, CRC-32], [bytes, CRC-32]].
    """
    written = json.loads((directory / FILENAME).read_text())
    written[name] = [_summary(directory / name), [len(content), zlib.crc32(content)]]
    for path, new in (
        (directory / FILENAME, json.dumps(written, indent=0).encode() + b"\n"),
        (directory / name, content),
    ):
        with atomic.replacing(path) as file:
            file.write(new)


def damage(directory: pathlib.Path) -> str | None:
    """What is wrong with the files, in a few words, or None.

    A file that is missing, longer, shorter or another than it was is noticed; reads all of them, at a gigabyte or more
    a second.
    """
    try:
        # In this order: a file that another process replaces meanwhile is then in the manifest.
        found = _files(directory)
        written = json.loads((directory / FILENAME).read_text())
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
        if found[name] != written[name] and found[name] not in written[name]:
            return f"{name} is not what was written"
    return None


def _files(directory: pathlib.Path) -> dict[str, list[int]]:
    # Without what a write that was interrupted left.
    paths = sorted(path for path in directory.rglob("*") if path.suffix != ".partial" and path.is_file())
    paths = [path for path in paths if path != directory / FILENAME]
    # Reading and summing up hold no lock of Python's.
    with concurrent.futures.ThreadPoolExecutor() as threads:
        summaries = threads.map(_summary, paths)
        return {path.relative_to(directory).as_posix(): found for path, found in zip(paths, summaries, strict=True)}


def _summary(path: pathlib.Path) -> list[int]:
    size = checksum = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
    return [size, checksum]
