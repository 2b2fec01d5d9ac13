"""The page on one person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeharfer.report.pdf import styles
from edgeharfer.report.pdf.edition import ReportEdition
from edgeharfer.report.pdf.group import shares, transitions
from edgeharfer.report.pdf.parts import ChartFlowables, OutlineEntry, gap, picture, side_by_side, tiles, words
from edgeharfer.report.report import Report
from edgeharfer.report.statistics import PersonStatistics
from edgeharfer.report.words import label_name, percent, person_name, seconds

_FACE_SHARE = 0.16  # of the width, for a picture of the face next to the figures


def person_page(
    report: Report, person: PersonStatistics, edition: ReportEdition, charts: ChartFlowables
) -> list[Any]:
    """The page on one person."""
    name = person_name(person.track)
    parts = [
        OutlineEntry(f"person-{person.track}", name),
        words(name, styles.HEADING),
        _head(report, person, edition),
        gap(8),
    ]
    if not report.stills:
        parts += [charts.chart("curves", person.track), gap(4)]
    parts.append(shares(charts, person.track))
    if not report.stills and report.labels:
        parts.append(transitions(person.measures, charts, person.track))
    return parts


def _head(report: Report, person: PersonStatistics, edition: ReportEdition) -> Any:
    """The key figures of a person, next to the face if the report holds pictures."""
    face = edition.gallery.faces.get(person.track) if edition.gallery else None
    if face is None:
        return tiles(_tiles(report, person))
    rest = 1 - _FACE_SHARE
    portrait = picture(face, (_FACE_SHARE - 0.02) * styles.CONTENT_WIDTH)
    return side_by_side(portrait, tiles(_tiles(report, person), rest), shares=(_FACE_SHARE, rest))


def _tiles(report: Report, person: PersonStatistics) -> Sequence[tuple[str, str]]:
    measures, leader = person.measures, person.measures.leader
    if report.stills:
        items = [(percent(person.rows[0].face.score), "score of the face detector")]
    else:
        seen = seconds(len(person.rows) * report.recording.step_s)
        items = [
            (seen, f"in view, from {seconds(person.first_s)} to {seconds(person.last_s)}"),
            (percent(measures.coverage), "of the samples show this face"),
        ]
    if report.labels:
        share = f", {percent(leader[1])} of the time" if leader and not report.stills else ""
        items.append((label_name(leader[0]) if leader else "–", f"most frequent emotion{share}"))
        items.append((percent(measures.confidence), "mean confidence"))
    return items
