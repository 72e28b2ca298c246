"""Captions and other columns of an image folder: captions.jsonl or metadata.jsonl, or one .txt file beside every image.

Each line of a .jsonl file is an object {"file_name": path of an image from the folder of the file, ...}. Every further
key is a column: a text, a list of texts (alternative wordings), a list of numbers (a vector) or a list of such (a
sequence). Several lines of one image add up its wordings. A .txt file is the column `caption` of the image of the same
name; each of its lines that is not blank is one wording.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final, overload

from diffax.data.dataset import listed

FILENAMES = ("captions.jsonl", "metadata.jsonl")
CAPTION = "caption"
_FILE_NAME = "file_name"


class Found(NamedTuple):
    """Raw cells by the name of a column, one for every image; and one-line notes on what was ignored."""

    raw: Mapping[str, Sequence[Any]]
    notes: tuple[str, ...]


def divided(
    root: pathlib.Path, images: Sequence[pathlib.Path], others: Sequence[pathlib.Path]
) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """Divides the other files of a folder into those that hold columns of its images, and the rest."""
    stems = {_stem(image) for image in images} if any(map(_is_text, others)) else set()
    known = {root / name for name in FILENAMES}
    holding = [other for other in others if other in known or (_is_text(other) and _stem(other) in stems)]
    chosen = set(holding)
    return holding, [other for other in others if other not in chosen]


def read(root: pathlib.Path, images: Sequence[pathlib.Path], holding: Sequence[pathlib.Path]) -> Found:
    """The columns of images in `root`, from the files that `divided` found. The .txt files are read at look-up.

    Raises:
      ValueError: a line that is not an object with a file_name, or two values of an image that are not texts.
    """
    texts = {_stem(path): path for path in holding if _is_text(path)}
    raw, notes = _of_lines(root, images, [path for path in holding if not _is_text(path)])
    if texts and CAPTION in raw:
        notes.append(f"left out of {root}: {len(texts):,} .txt files, because its .jsonl file has a column {CAPTION}")
    elif texts:
        raw[CAPTION] = TextFiles([texts.get(_stem(image)) for image in images])
    return Found(raw, tuple(notes))


@final
@dataclasses.dataclass(frozen=True, eq=False)
class TextFiles(Sequence[tuple[str, ...]]):
    """The wordings in text files, each of which is read when its index is looked up; none where there is no file."""

    paths: Sequence[pathlib.Path | None]

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> "TextFiles": ...
    def __getitem__(self, index: int | slice) -> "tuple[str, ...] | TextFiles":
        if isinstance(index, slice):
            return TextFiles(self.paths[index])
        path = self.paths[index]
        return () if path is None else tuple(line for line in _lines(path) if line.strip())


def _of_lines(
    root: pathlib.Path, images: Sequence[pathlib.Path], paths: Sequence[pathlib.Path]
) -> tuple[dict[str, Any], list[str]]:
    """The columns of .jsonl files, and notes on what they hold beside."""
    numbers = {os.path.normpath(image): number for number, image in enumerate(images)} if paths else {}
    raw: dict[str, list[Any]] = {}
    notes = []
    for path in paths:
        strangers = []
        for where, line in _objects(path):
            name = line.pop(_FILE_NAME)
            number = numbers.get(os.path.normpath(root / name))
            if number is None:
                strangers.append(f"{where}, {name}")
                continue
            for key, value in line.items():
                if key not in raw:
                    raw[key] = [None] * len(images)
                cells = raw[key]
                cells[number] = value if cells[number] is None else _added(cells[number], value, f"{where}: {key}")
        if strangers:
            count = f"{len(strangers):,} line{'s' if len(strangers) > 1 else ''}"
            notes.append(f"left out of {path}: {count} on images that do not exist, the first is {strangers[0]}")
    ignored = [key for key, cells in raw.items() if all(isinstance(c, int | float | dict | None) for c in cells)]
    if unused := [key for key in ignored if any(cell is not None for cell in raw[key])]:
        notes.append(f"left out of {root}: of its .jsonl files {listed(unused)} (neither texts nor lists of numbers)")
    return {key: _filled(cells) for key, cells in raw.items() if key not in ignored}, notes


def _filled(cells: list[Any]) -> list[Any]:
    """Without None in a column of texts, which then is one for images too of which none has a text."""
    is_text = any(isinstance(cell[0] if isinstance(cell, list) and cell else cell, str) for cell in cells)
    return [() if cell is None else cell for cell in cells] if is_text else cells


def _objects(path: pathlib.Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line, object) of every line that is not blank."""
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f'{where}: expected an object {{"{_FILE_NAME}": ...}} of JSON, got {line.strip()[:60]} ({error})'
            ) from error
        if not isinstance(content, dict) or not isinstance(content.get(_FILE_NAME), str):
            raise ValueError(
                f'{where}: expected an object {{"{_FILE_NAME}": path of an image from {path.parent}, ...}}, got '
                f"{line.strip()[:60]}: mend it, or move the file away"
            )
        yield where, content


def _added(before: Any, value: Any, where: str) -> Any:
    """The wordings of two lines of one image; of what is no column the first."""
    if isinstance(value, int | float | dict):
        return before
    both = [[cell] if isinstance(cell, str) else cell for cell in (before, value) if cell is not None]
    if len(both) == 2 and not all(isinstance(cell, list) and all(isinstance(e, str) for e in cell) for cell in both):
        raise ValueError(f"{where}: an earlier line has one of this image, and only texts add up: remove one")
    return [wording for cell in both for wording in cell] if len(both) == 2 else before


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeError) as error:
        message = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a text file in UTF-8 ({message})") from error


def _is_text(path: pathlib.Path) -> bool:
    return path.suffix.lower() == ".txt"


def _stem(path: pathlib.Path) -> pathlib.Path:
    """The path without its suffix, which images and their .txt files have in common."""
    return path.with_suffix("")
