"""Assemble the pages of a report and of a report on one person."""

from __future__ import annotations

from typing import Any

from reportlab.platypus import CondPageBreak, PageBreak

from edgeharfer.report.charts.book import ChartBook
from edgeharfer.report.pdf.cover import cover
from edgeharfer.report.pdf.document import make_pdf
from edgeharfer.report.pdf.edition import ReportEdition
from edgeharfer.report.pdf.group import actions, group
from edgeharfer.report.pdf.method import method
from edgeharfer.report.pdf.parts import ChartFlowables, ChartPlacement, gap
from edgeharfer.report.pdf.person import person_page
from edgeharfer.report.report import Report
from edgeharfer.report.words import person_name, shortened
from edgeharfer.runtime.versions import product_version

Page = list[Any]

_ACTIONS_HEIGHT = 300  # points; with less space left on the page, actions begin on the next one


def report_pdf(report: Report, book: ChartBook, edition: ReportEdition) -> bytes:
    """Make the PDF of a report: cover, everybody, actions, each person, method and limits."""

    def story(placements: list[ChartPlacement]) -> Page:
        charts = ChartFlowables(book, placements)
        everybody = group(report, charts)
        if report.method.action and not report.stills:
            everybody += [CondPageBreak(_ACTIONS_HEIGHT), gap(14), *actions(report, charts)]
        people = [person_page(report, person, edition, charts) for person in report.shown]
        return _separate([cover(report, edition), everybody, *people, method(report, edition)])

    return _make(report, book, story, f"Emotions and actions: {report.source.name}")


def person_pdf(report: Report, book: ChartBook, edition: ReportEdition) -> bytes:
    """Make the PDF of a report on one person (`report.only`), without information on others."""
    (person,) = report.shown

    def story(placements: list[ChartPlacement]) -> Page:
        page = person_page(report, person, edition, ChartFlowables(book, placements))
        return _separate([page, method(report, edition)])

    return _make(
        report, book, story, f"Emotions of {person_name(person.track).lower()}: {report.source.name}"
    )


def _separate(pages: list[Page]) -> Page:
    return [part for i, page in enumerate(pages) for part in ([PageBreak()] if i else []) + page]


def _make(report: Report, book: ChartBook, story: Any, title: str) -> bytes:
    creator = f"edgeharfer {product_version()}".strip()
    footer = f"{shortened(report.source.name, 60)} · {creator}"
    return make_pdf(story, book, title=title, footer=footer, creator=creator)
