"""The section on one person."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from edgeharfer.report.content import texts
from edgeharfer.report.content.blocks import Beside, Block, ChartView, Paragraph, Photo, Section, Tiles
from edgeharfer.report.content.edition import ReportEdition
from edgeharfer.report.content.group import share_words, shares
from edgeharfer.report.report import Report
from edgeharfer.report.statistics import PersonStatistics
from edgeharfer.report.words import label_name, percent, person_name, seconds

_FACE_SHARE = 0.16  # of the width, for a picture of the face next to the figures
_CURVES_SHARE = 0.63  # of the width, for the curves next to the bars
_MAX_PAIRS = 6


def person_section(report: Report, person: PersonStatistics, edition: ReportEdition) -> Section:
    """The section on one person."""
    blocks = [_head(report, person, edition), *_charts(report, person)]
    if not report.stills and report.labels:
        blocks.append(Paragraph(_transitions(person)))
    return Section(f"person-{person.track}", person_name(person.track), blocks, whole=True)


def _head(report: Report, person: PersonStatistics, edition: ReportEdition) -> Block:
    """The key figures of a person, next to the face if the report holds pictures."""
    tiles = Tiles(_tiles(report, person))
    face = edition.gallery.faces.get(person.track) if edition.gallery else None
    if face is None:
        return tiles
    photo = Photo(face, f"Face of {person_name(person.track)}")
    return Beside([[photo], [tiles]], (_FACE_SHARE, 1 - _FACE_SHARE))


def _charts(report: Report, person: PersonStatistics) -> list[Block]:
    if not report.labels:
        return []
    if report.stills:
        return shares(report, person.measures, person.track)
    track = person.track
    curves = ChartView(
        ("curves", track),
        "Chart of the label and of the probability of each emotion over time.",
        ("narrow", track),
    )
    text = f"Bar chart of the shares of the emotions: {share_words(person.measures)}."
    bars = ChartView(("bar", track), text, ("slim", track))
    return [Beside([[curves], [bars]], (_CURVES_SHARE, 1 - _CURVES_SHARE), stacked=True)]


def _transitions(person: PersonStatistics) -> str:
    found = person.measures.transitions
    if not found:
        return "<b>Transitions.</b> None between named emotions."
    listed = [
        f"{label_name(before)} to {label_name(after).lower()} {count}"
        for (before, after), count in list(found.items())[:_MAX_PAIRS]
    ]
    more = ", …" if len(found) > _MAX_PAIRS else ""
    return f"<b>Transitions.</b> {sum(found.values())}: {escape(', '.join(listed))}{more}."


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
        items += texts.strength_tile(measures)
    return items
