"""The sections of a report and of a report on one person, in their order."""

from __future__ import annotations

from edgeharfer.report.content.actions import actions
from edgeharfer.report.content.blocks import Section
from edgeharfer.report.content.cover import cover
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.content.group import group
from edgeharfer.report.content.method import method
from edgeharfer.report.content.person import person_section
from edgeharfer.report.report import Report
from edgeharfer.report.words import person_name


def sections(report: Report, edition: ReportEdition) -> list[Section]:
    """The sections: summary, everybody, actions, each person, method and limits.

    A report on one person (`report.only`) holds only that person, and no information on others.
    """
    people = [person_section(report, person, edition) for person in report.shown]
    if report.only is not None:
        return [*people, method(report, edition)]
    acts = [actions(report)] if report.method.action and not report.stills else []
    return [cover(report, edition), group(report), *acts, *people, method(report, edition)]


def document_title(report: Report) -> str:
    """The title of the document."""
    if report.only is not None:
        return f"Emotions of {person_name(report.only).lower()}: {report.source.name}"
    return f"Emotions and actions: {report.source.name}"
