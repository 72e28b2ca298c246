"""HTML report pages: one file with inline figures and pictures, which asks for nothing outside itself.

A page is sections; a section is a heading, a caption and parts: tables, figures, pictures, code. Every text is escaped,
and a content security policy in the file forbids requests.
"""

import base64
import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

from diffax.reporting import atomic, formats

_TEMPLATE = "page.html"


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of cells: texts, numbers or None. marked: the indices of rows to emphasise."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    marked: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class Figure:
    """An SVG figure as text, from `charts.chart`, and its caption."""

    svg: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures side by side where there is room."""

    kind: ClassVar[str] = "figures"
    figures: Sequence[Figure]


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures (label, PNG file as bytes) in one place, with a slider to choose among several; the last is shown."""

    kind: ClassVar[str] = "pictures"
    frames: Sequence[tuple[str, bytes]]
    name: str = "picture"
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Code:
    """Text to copy, such as a command."""

    kind: ClassVar[str] = "code"
    text: str


@dataclasses.dataclass(frozen=True)
class Details:
    """Parts that are hidden until their summary is clicked."""

    kind: ClassVar[str] = "details"
    summary: str
    parts: Sequence["Part"]


Part = Table | Figures | Pictures | Code | Details


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, a caption that says what to see, and parts."""

    title: str
    parts: Sequence[Part]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Page:
    """A report: facts are (name, value) pairs below its title."""

    title: str
    sections: Sequence[Section]
    facts: Sequence[tuple[str, Any]] = ()


def render(page: Page) -> str:
    """The page as the text of an HTML file."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": formats.number, "data_uri": _data_uri, "is_aligned": _is_aligned}
    return environment.get_template(_TEMPLATE).render(page=page)


def write(path: str | os.PathLike, page: Page) -> None:
    """Writes the page as an HTML file; the write is atomic."""
    content = render(page).encode("utf-8", "replace")
    with atomic.replacing(path) as file:
        file.write(content)


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _is_aligned(cell: Any) -> bool:
    """Whether a cell is a number, with or without its error, and stands at the right of its column."""
    return (isinstance(cell, int | float) and not isinstance(cell, bool)) or " ± " in str(cell)
