"""Make `report.pdf` from the sections of a report."""

from __future__ import annotations

from typing import Any

from edgeharfer.report.charts.book import ChartBook
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.content.sections import document_title, sections
from edgeharfer.report.pdf.blocks import BlockFlowables
from edgeharfer.report.pdf.document import make_pdf
from edgeharfer.report.pdf.parts import ChartFlowables, ChartPlacement
from edgeharfer.report.report import Report
from edgeharfer.report.words import shortened
from edgeharfer.runtime.versions import product_version


def report_pdf(report: Report, book: ChartBook, edition: ReportEdition) -> bytes:
    """Make the PDF of a report, or of a report on one person (`report.only`)."""
    content = sections(report, edition)

    def story(placements: list[ChartPlacement]) -> list[Any]:
        return BlockFlowables(ChartFlowables(book, placements)).story(content)

    creator = f"edgeharfer {product_version()}".strip()
    footer = f"{shortened(report.source.name, 60)} · {creator}"
    return make_pdf(story, book, title=document_title(report), footer=footer, creator=creator)
