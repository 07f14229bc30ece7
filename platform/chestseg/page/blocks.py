"""What a report's page is made of. All text is plain: it is escaped when the page is rendered."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

NUMBER = re.compile(r"[-+−±]?\d[\d,.]*(e[-+]?\d+)?( ?(%|[a-zA-Zµ]{1,3}))?$|[-–]?$")
"""A number, with a unit or not, or a cell that stays empty."""


@dataclass(frozen=True)
class Heading:
    """The start of a section; the page's contents list them."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Note:
    """Something a reader must not miss, such as what a number does not say."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Listing:
    """Text whose lines and spaces count, such as a file or a command."""

    kind: ClassVar[str] = "listing"
    text: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns' names; it scrolls in its own box where the page is narrower."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows), (
            f"rows of {self.caption or self.columns} are not as wide as its head"
        )

    @property
    def wide(self) -> bool:
        """Whether cells on a narrow page would have no room for words."""
        return len(self.columns) > 4

    @property
    def numeric(self) -> list[bool]:
        """Of each column, whether it holds numbers alone: they are set flush right."""
        cells = [[row[place] for row in self.rows] for place in range(len(self.columns))]
        return [any(column) and all(NUMBER.match(cell) for cell in column) for column in cells]


@dataclass(frozen=True)
class Figure:
    """A picture, carried inside the page."""

    kind: ClassVar[str] = "figure"
    content: bytes = field(repr=False)
    """PNG or SVG."""
    alt: str
    """What it shows, for those who do not see it."""
    caption: str = ""
    chart: bool = False
    """Ink on nothing: a dark page inverts it, hues kept. A photograph is left as it is."""
    wide: bool = False
    """Keeps its width on a narrow page and scrolls in its own box."""

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        kind = "png" if self.content.startswith(b"\x89PNG") else "svg+xml"
        assert kind == "png" or b"<svg" in self.content[:2000], f"{self.alt}: neither PNG nor SVG"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode()}"


Block = Heading | Paragraph | Note | Listing | Table | Figure


@dataclass(frozen=True)
class Page:
    """A report: its title, what it found in a sentence or two, and blocks in reading order."""

    title: str
    summary: str
    blocks: Sequence[Block]
    made: str = ""
    """The last line: by what, from what, when."""
