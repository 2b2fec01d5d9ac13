"""Draw the blocks of a report as flowables of ReportLab."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from reportlab.platypus import CondPageBreak, KeepTogether

from edgeharfer.report.content.blocks import (
    Beside,
    Block,
    Bullets,
    ChartView,
    DataTable,
    Facts,
    Paragraph,
    Photo,
    Section,
    Subheading,
    Tiles,
    Title,
    Together,
)
from edgeharfer.report.palette import ACCENT
from edgeharfer.report.pdf import parts, styles
from edgeharfer.report.pdf.parts import ChartFlowables

_BEFORE_SECTION = 12.0  # points
_LEAST_HEIGHT = 130.0
"""Points: with less space left on a page, a section begins on the next one."""
_COLUMN_GAP = 10.0


class BlockFlowables:
    """Makes the flowables of sections.

    Args:
        charts: Makes the placeholders of charts.
    """

    def __init__(self, charts: ChartFlowables) -> None:
        self._charts = charts

    def story(self, sections: Sequence[Section]) -> list[Any]:
        """The flowables of a document; sections follow each other on one page if there is space."""
        story: list[Any] = []
        for place, section in enumerate(sections):
            story += (
                [parts.gap(_BEFORE_SECTION), *self._section(section)] if place else self._section(section)
            )
        return story

    def _section(self, section: Section) -> list[Any]:
        entry = parts.OutlineEntry(section.key, section.title)
        titled = isinstance(section.blocks[0], Title)
        head = [entry] if titled else [entry, parts.words(section.title, styles.HEADING)]
        flowables = [*head, *self.make(section.blocks)]
        return [KeepTogether(flowables)] if section.whole else [CondPageBreak(_LEAST_HEIGHT), *flowables]

    def make(self, blocks: Iterable[Block], width: float = styles.CONTENT_WIDTH) -> list[Any]:
        """The flowables of blocks.

        Args:
            blocks: The blocks.
            width: Width in points.
        """
        return [flowable for block in blocks for flowable in self._make(block, width)]

    def _make(self, block: Block, width: float) -> list[Any]:
        match block:
            case Title():
                return _title(block)
            case Subheading():
                return [parts.words(block.text, styles.SUBHEADING)]
            case Paragraph():
                return [parts.markup(_linked(block.markup), styles.SMALL if block.small else styles.BODY)]
            case Bullets():
                return parts.bullets([_linked(item) for item in block.items])
            case Tiles():
                return [parts.tiles(block.items, width), parts.gap(6)]
            case Facts():
                return [parts.facts(block.rows), parts.gap(8)]
            case DataTable():
                return [parts.table(block.header, block.rows, block.widths, left=block.left, width=width)]
            case ChartView():
                return [self._charts.chart(*(block.printed or block.chart)), parts.gap(4)]
            case Photo():
                return parts.photo(block.jpeg, width, block.caption)
            case Beside():
                return [self._beside(block, width)]
            case Together():
                return [KeepTogether(self.make(block.blocks, width))]

    def _beside(self, block: Beside, width: float) -> Any:
        columns = [
            self.make(column, share * width - _COLUMN_GAP)
            for column, share in zip(block.columns, block.shares, strict=True)
        ]
        return parts.side_by_side(columns, [share * width for share in block.shares])


def _title(title: Title) -> list[Any]:
    return [
        parts.gap(8),
        parts.words(title.kicker.upper(), styles.KICKER),
        parts.words(title.text, styles.TITLE),
        parts.words(title.subtitle, styles.SUBTITLE),
    ]


def _linked(markup: str) -> str:
    """The markup with coloured links and without characters that the font lacks."""
    return parts.drawable_markup(markup).replace("<a href=", f'<a color="{ACCENT}" href=')
