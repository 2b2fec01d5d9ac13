"""Flowables of ReportLab: paragraphs, tables, tiles, pictures and placeholders for charts."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.units import inch
from reportlab.platypus import Flowable, Image, Paragraph, Spacer, Table

from edgeharfer.report.charts.book import ChartBook, Key
from edgeharfer.report.pdf import styles
from edgeharfer.report.words import drawable


def words(text: str, style: Any = styles.BODY) -> Any:
    """A paragraph of plain text, with markup escaped."""
    return Paragraph(escape_markup(text), style)


def escape_markup(text: str) -> str:
    """Escape plain text for use in markup."""
    return escape(drawable(text))


def drawable_markup(text: str) -> str:
    """Markup without characters that the font lacks."""
    return drawable(text)


def markup(text: str, style: Any = styles.BODY, **options: Any) -> Any:
    """A paragraph of trusted text with ReportLab's inline tags."""
    return Paragraph(text, style, **options)


def bullets(texts: Sequence[str]) -> list[Any]:
    """A bulleted list of trusted texts with ReportLab's inline tags."""
    return [markup(text, styles.BULLET, bulletText="•") for text in texts]


def gap(points: float) -> Any:
    """Vertical space."""
    return Spacer(0, points)


class OutlineEntry(Flowable):  # type: ignore[misc]
    """An entry of the outline and a link target. `level` is 0 or 1."""

    def __init__(self, key: str, title: str, level: int = 0) -> None:
        super().__init__()
        self._key, self._title, self._level = key, title, level

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return 0, 0

    def draw(self) -> None:
        self.canv.bookmarkHorizontal(self._key, 0, 18)
        self.canv.addOutlineEntry(self._title, self._key, self._level, closed=False)


@dataclass(frozen=True)
class ChartPlacement:
    """Position of a chart.

    Attributes:
        chart: Key of the chart in its book.
        page: Page index, from 0.
        x: Left edge in points from the left edge of the page.
        y: Bottom edge in points from the bottom edge of the page.
    """

    chart: Key
    page: int
    x: float
    y: float


class ChartFlowable(Flowable):  # type: ignore[misc]
    """Empty space of a chart's size, which records its position when it is drawn."""

    def __init__(self, chart: Key, size_in: tuple[float, float], placements: list[ChartPlacement]) -> None:
        super().__init__()
        self._chart, self._placements = chart, placements
        self.width, self.height = size_in[0] * inch, size_in[1] * inch

    def wrap(self, width: float, height: float) -> tuple[float, float]:
        return self.width, self.height

    def draw(self) -> None:
        x, y = self.canv.absolutePosition(0, 0)
        self._placements.append(ChartPlacement(self._chart, self.canv.getPageNumber() - 1, x, y))


class ChartFlowables:
    """Makes placeholders for the charts of a book, which append their positions to `placements`."""

    def __init__(self, book: ChartBook, placements: list[ChartPlacement]) -> None:
        self._book, self._placements = book, placements

    def chart(self, name: str, track: int | None = None) -> ChartFlowable:
        """A placeholder for a chart of the book."""
        size_in = self._book.figures[name, track].get_size_inches()
        return ChartFlowable((name, track), size_in, self._placements)


def side_by_side(columns: Sequence[Sequence[Any]], widths: Sequence[float]) -> Any:
    """Columns of flowables in one row, left-aligned.

    Args:
        columns: The flowables of each column.
        widths: Width of each column in points.
    """
    return Table([list(columns)], colWidths=list(widths), style=styles.PLAIN, hAlign="LEFT")


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[float],
    *,
    left: int = 1,
    width: float = styles.CONTENT_WIDTH,
) -> Any:
    """A table that repeats its header on each page.

    Args:
        header: Column titles.
        rows: Cell texts.
        widths: Relative widths of the columns.
        left: Number of left-aligned columns; the others are right-aligned.
        width: Total width in points.
    """
    unit = width / sum(widths)
    heads = [words(text, _aligned(i, left, head=True)) for i, text in enumerate(header)]
    cells = [[words(text, _aligned(i, left)) for i, text in enumerate(row)] for row in rows]
    return Table(
        [heads, *cells], colWidths=[part * unit for part in widths], style=styles.TABLE, repeatRows=1
    )


def _aligned(column: int, left: int, *, head: bool = False) -> Any:
    if column < left:
        return styles.HEAD_CELL if head else styles.CELL
    return styles.HEAD_CELL_RIGHT if head else styles.CELL_RIGHT


def facts(rows: Sequence[tuple[str, str]]) -> Any:
    """A two-column table of names and values."""
    cells = [[words(name, styles.HEAD_CELL), words(value, styles.CELL)] for name, value in rows]
    width = styles.CONTENT_WIDTH
    return Table(cells, colWidths=[0.27 * width, 0.73 * width], style=styles.FACTS)


def tiles(items: Sequence[tuple[str, str]], width: float = styles.CONTENT_WIDTH) -> Any:
    """A row of key figures.

    Args:
        items: (figure, caption) of each tile.
        width: Total width in points.
    """
    cells = [[[words(figure, styles.TILE_NUMBER), words(what, styles.TILE_WORDS)] for figure, what in items]]
    return Table(cells, colWidths=[width / len(items)] * len(items), style=styles.TILES)


def photo(jpeg: bytes, width: float, caption: str = "") -> list[Any]:
    """A JPEG picture, `width` points wide, with a caption below."""
    image = Image(io.BytesIO(jpeg), hAlign="LEFT")
    image.drawWidth, image.drawHeight = width, width * image.imageHeight / image.imageWidth
    return [image, words(caption, styles.SMALL)] if caption else [image]
