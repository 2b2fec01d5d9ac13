"""The blocks of a report: text, tables and charts, without a page layout.

Texts are plain, except for those called markup: trusted text, escaped for XML, with tags <b> and <a href>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeharfer.report.charts.book import Key


@dataclass(frozen=True)
class Title:
    """The title of the report, with a line above and below."""

    kicker: str
    text: str
    subtitle: str


@dataclass(frozen=True)
class Subheading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """A paragraph. `small` is for remarks."""

    markup: str
    small: bool = False


@dataclass(frozen=True)
class Bullets:
    """A bulleted list of markup."""

    items: Sequence[str]


@dataclass(frozen=True)
class Tiles:
    """A row of key figures: (figure, caption) of each."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class DataTable:
    """A table.

    Attributes:
        caption: Its name, which only readers without a page layout need.
        header: Column titles.
        rows: Cell texts.
        widths: Relative widths of the columns.
        left: Number of left-aligned columns; the others are right-aligned.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    widths: Sequence[float]
    left: int = 1


@dataclass(frozen=True)
class ChartView:
    """A chart of the book.

    Attributes:
        chart: Its key.
        text: What it shows, for readers who do not see it.
        printed: The chart on a printed page, if it is another one.
    """

    chart: Key
    text: str
    printed: Key | None = None


@dataclass(frozen=True)
class Photo:
    """A JPEG picture.

    Attributes:
        jpeg: The file.
        text: What it shows, for readers who do not see it.
        caption: Text below; "" for none.
    """

    jpeg: bytes
    text: str
    caption: str = ""


@dataclass(frozen=True)
class Beside:
    """Columns next to each other.

    Attributes:
        columns: The blocks of each column.
        shares: Share of the width of each column.
        stacked: Whether a screen, which has more space, shows them below each other.
    """

    columns: Sequence[Sequence[Block]]
    shares: Sequence[float]
    stacked: bool = False


@dataclass(frozen=True)
class Together:
    """Blocks that stay on one page."""

    blocks: Sequence[Block]


Block = (
    Title
    | Subheading
    | Paragraph
    | Bullets
    | Tiles
    | Facts
    | DataTable
    | ChartView
    | Photo
    | Beside
    | Together
)


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        key: Target of links.
        title: Title in the outline, and its heading unless it begins with a `Title`.
        blocks: Its contents.
        whole: Keep it on one page.
    """

    key: str
    title: str
    blocks: Sequence[Block]
    whole: bool = False
