"""Build a PDF with numbered pages and vector charts from ReportLab flowables."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from pypdf import PageObject, PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    EncodedStreamObject,
    NameObject,
    StreamObject,
)
from reportlab.lib.colors import HexColor
from reportlab.platypus import SimpleDocTemplate

from edgeharfer.report.charts.book import ChartBook, Key
from edgeharfer.report.palette import MUTED, RULE
from edgeharfer.report.pdf import styles
from edgeharfer.report.pdf.parts import ChartPlacement
from edgeharfer.report.words import drawable, shortened

Story = Callable[[list[ChartPlacement]], list[Any]]
"""Returns new flowables at each call; charts append their position to the list while they are drawn."""


def make_pdf(story: Story, book: ChartBook, *, title: str, footer: str, creator: str) -> bytes:
    """Make a PDF of A4 pages, numbered "2 / 9", with an outline, selectable text and embedded fonts."""
    styles.register_fonts()
    title, footer = drawable(title), drawable(footer)
    total = _build_pages(story, [], title, lambda canvas, page: None)[1]
    placements: list[ChartPlacement] = []
    pages, _ = _build_pages(
        story, placements, title, lambda canvas, page: _footer(canvas, page, total, footer)
    )
    return _insert_charts(pages, placements, book.pages, {"/Title": title, "/Creator": creator})


def _build_pages(
    story: Story, placements: list[ChartPlacement], title: str, decorate: Callable[[Any, int], None]
) -> tuple[bytes, int]:
    """The pages with empty space for the charts, and their number."""
    file = io.BytesIO()
    frame_padding = 6  # ReportLab's own, on all sides
    side, top, bottom = (margin - frame_padding for margin in (styles.SIDE, styles.TOP, styles.BOTTOM))
    document = SimpleDocTemplate(
        file, pagesize=styles.PAGE, leftMargin=side, rightMargin=side, topMargin=top, bottomMargin=bottom,
        title=title, lang="en", invariant=1,
    )  # fmt: skip

    def on_page(canvas: Any, template: Any) -> None:
        decorate(canvas, template.page)

    document.build(story(placements), onFirstPage=on_page, onLaterPages=on_page)
    return file.getvalue(), document.page


def _footer(canvas: Any, page: int, total: int, text: str) -> None:
    canvas.saveState()
    y = styles.BOTTOM - 20
    canvas.setStrokeColor(HexColor(RULE))
    canvas.setLineWidth(0.5)
    canvas.line(styles.SIDE, y + 11, styles.PAGE[0] - styles.SIDE, y + 11)
    canvas.setFillColor(HexColor(MUTED))
    canvas.setFont(styles.FONT, 7)
    canvas.drawString(styles.SIDE, y, shortened(text, 96))
    canvas.drawRightString(styles.PAGE[0] - styles.SIDE, y, f"{page} / {total}")
    canvas.restoreState()


def _insert_charts(
    pages: bytes,
    placements: list[ChartPlacement],
    charts: Mapping[Key, PageObject],
    metadata: Mapping[str, str],
) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pages)))
    for number, placement in enumerate(placements):
        _draw(writer, writer.pages[placement.page], f"/Chart{number}", charts[placement.chart], placement)
    writer.metadata = dict(metadata)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def _draw(
    writer: PdfWriter, sheet: PageObject, name: str, chart: PageObject, placement: ChartPlacement
) -> None:
    """Draw a chart on a page as a form XObject, which keeps its resources separate from the page's."""
    form = writer._add_object(_form(chart).clone(writer))
    resources = sheet["/Resources"]
    assert isinstance(resources, DictionaryObject), "ReportLab gives each page its resources"
    forms = resources.setdefault(NameObject("/XObject"), DictionaryObject())
    forms.get_object()[NameObject(name)] = form
    call = DecodedStreamObject()
    call.set_data(f"q 1 0 0 1 {placement.x:.3f} {placement.y:.3f} cm {name} Do Q".encode())
    contents = sheet["/Contents"].get_object()
    parts = list(contents) if isinstance(contents, ArrayObject) else [sheet.raw_get("/Contents")]
    sheet[NameObject("/Contents")] = ArrayObject([*parts, writer._add_object(call)])


def _form(chart: PageObject) -> StreamObject:
    """A page as a form XObject (ISO 32000-1, 8.10)."""
    contents = chart["/Contents"].get_object()
    assert isinstance(contents, EncodedStreamObject | DecodedStreamObject), (
        "matplotlib writes one stream a page"
    )
    form = DecodedStreamObject()
    form.set_data(contents.get_data())
    form.update({
        NameObject("/Type"): NameObject("/XObject"),
        NameObject("/Subtype"): NameObject("/Form"),
        NameObject("/BBox"): chart.mediabox,
        NameObject("/Resources"): chart["/Resources"],
        NameObject("/Group"): chart.get("/Group", DictionaryObject()),
    })  # fmt: skip
    return form.flate_encode()
