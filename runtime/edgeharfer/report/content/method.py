"""The section on method and limits."""

from __future__ import annotations

from xml.sax.saxutils import escape

from edgeharfer.report.content import texts
from edgeharfer.report.content.blocks import Block, Bullets, Paragraph, Section, Subheading
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.report import Report

_MAX_SKIPPED = 40


def method(report: Report, edition: ReportEdition) -> Section:
    """The section on the method, its limits, privacy and skipped files."""
    blocks: list[Block] = [
        Subheading("Method"),
        Bullets(texts.method(report)),
        Subheading("Limits"),
        Bullets(texts.limits(report)),
        Subheading("Privacy"),
        Paragraph(texts.privacy(edition.pictured)),
    ]
    if report.source.skipped:
        blocks.append(Subheading("Skipped files"))
        blocks += [
            Paragraph(escape(f"{name}: {why}"), small=True)
            for name, why in report.source.skipped[:_MAX_SKIPPED]
        ]
    return Section("method", "Method and limits", blocks)
