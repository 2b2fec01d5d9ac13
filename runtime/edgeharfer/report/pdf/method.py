"""The page on method and limits."""

from __future__ import annotations

from typing import Any

from edgeharfer.report.pdf import styles, texts
from edgeharfer.report.pdf.edition import ReportEdition
from edgeharfer.report.pdf.parts import OutlineEntry, bullets, words
from edgeharfer.report.report import Report

_MAX_SKIPPED = 40


def method(report: Report, edition: ReportEdition) -> list[Any]:
    """The page on the method, its limits, privacy and skipped files."""
    parts = [
        OutlineEntry("method", "Method and limits"),
        words("Method and limits", styles.HEADING),
        words("Method", styles.SUBHEADING),
        *bullets(texts.method(report)),
        words("Limits", styles.SUBHEADING),
        *bullets(texts.limits(report)),
        words("Privacy", styles.SUBHEADING),
        words(texts.privacy(edition.pictured)),
    ]
    if report.source.skipped:
        parts.append(words("Skipped files", styles.SUBHEADING))
        parts += [words(f"{name}: {why}", styles.SMALL) for name, why in report.source.skipped[:_MAX_SKIPPED]]
    return parts
