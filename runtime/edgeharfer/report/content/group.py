"""The section on all faces together."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from edgeharfer.report.content import texts
from edgeharfer.report.content.blocks import (
    Beside,
    Block,
    ChartView,
    DataTable,
    Paragraph,
    Section,
    Subheading,
    Together,
)
from edgeharfer.report.content.texts import MAX_ROWS, cut_off
from edgeharfer.report.report import Report
from edgeharfer.report.rows import FrameRow
from edgeharfer.report.statistics import Statistics, main_labels
from edgeharfer.report.words import counted, label_name, percent, person_name, seconds, shortened
from edgeharfer.runtime.types import UNCERTAIN

_MAX_PAIRS = 8


def group(report: Report) -> Section:
    """The section on all faces together. What the section of a single person shows is not repeated."""
    blocks: list[Block] = [Paragraph(escape(_in_words(report)))]
    if report.rows:
        blocks += _pictures(report) if report.stills else _over_time(report)
    return Section("group", "Everybody", blocks)


def _over_time(report: Report) -> list[Block]:
    blocks: list[Block] = []
    several = len(report.persons) > 1
    if report.shown and report.labels and several:
        blocks.append(
            ChartView(("emotions", None), "Chart of the emotions over time: a strip for each person.")
        )
    if report.labels and (several or not report.shown):
        blocks += shares(report, report.group, None)
    if report.labels:
        blocks += [Subheading("Share of each emotion"), _share_table(report)]
    blocks.append(
        Together(
            [Subheading("Confidence and coverage"), ChartView(("confidence", None), _confidence_text(report))]
        )
    )
    if report.shown:
        blocks.append(_people_table(report))
    return blocks + (transitions(report.group) if report.labels and several else [])


def _pictures(report: Report) -> list[Block]:
    pictures = len(report.recording.samples)
    blocks: list[Block] = []
    if pictures > 1:
        blocks.append(
            ChartView(("emotions", None), "Chart of the emotions by picture; the table below lists them.")
        )
    if len(report.rows) > 1:
        blocks += shares(report, report.group, None)
    return blocks + (_picture_table(report) if pictures > 1 else [])


def shares(report: Report, measures: Statistics, track: int | None) -> list[Block]:
    """The bar chart and the pie chart, or a sentence where there is only one label."""
    if not report.labels:
        return []
    present = [label for label, share in measures.shares.items() if share > 0]
    single = report.stills and measures.sightings == 1  # whose probabilities are shown
    if len(present) == 1 and not single:
        return [
            Paragraph(f"The label is <b>{escape(label_name(present[0]))}</b> in all samples of the faces.")
        ]
    text = f"of the shares of the emotions: {share_words(measures)}."
    bar, pie = (ChartView((name, track), f"{name.capitalize()} chart {text}") for name in ("bar", "pie"))
    return [Beside([[bar], [pie]], (0.5, 0.5))]


def share_words(measures: Statistics) -> str:
    """The shares of the labels that were seen, largest first."""
    present = [(share, label) for label, share in measures.shares.items() if share > 0]
    return ", ".join(
        f"{label_name(label)} {percent(share)}" for share, label in sorted(present, reverse=True)
    )


def transitions(measures: Statistics) -> list[Block]:
    """The chart of transitions and a table of the most frequent ones."""
    heading = Subheading("Transitions")
    if not measures.transitions:
        return [Together([heading, Paragraph("No face changed from one named emotion to another.")])]
    rows = [
        [f"{label_name(before)} to {label_name(after).lower()}", str(count)]
        for (before, after), count in list(measures.transitions.items())[:_MAX_PAIRS]
    ]
    total = sum(measures.transitions.values())
    listed = DataTable("Most frequent transitions", [f"Most frequent of {total}", "Times"], rows, [3, 1])
    chart = ChartView(("transitions", None), "Chart of the transitions; the table lists the most frequent.")
    return [Together([heading, Beside([[chart], [listed]], (0.56, 0.44))])]


def _in_words(report: Report) -> str:
    measures = report.group
    text = (
        f"{counted(measures.sightings, 'sighting')} of faces in "
        f"{counted(len(report.recording.samples), 'picture' if report.stills else 'sample')}; "
        f"a face was seen in {percent(measures.coverage)} of them."
    )
    if not (report.labels and measures.sightings):
        return text
    strength = f" Mean strength {texts.strength_words(measures)}." if measures.strength is not None else ""
    return f"{text} Mean confidence {percent(measures.confidence)}.{strength}"


def _confidence_text(report: Report) -> str:
    return (
        "Chart of the number of faces in view and of the confidence over time. Mean confidence "
        f"{percent(report.group.confidence)}; a face in {percent(report.group.coverage)} of the samples."
    )


def _share_table(report: Report) -> DataTable:
    """The share of each label, for everybody and for each person."""
    names = [*main_labels(report.labels, report.group), UNCERTAIN]
    header = ["Person", *(shortened(label_name(name), 10) for name in names)]
    rows = [_share_line("Everybody", report.group, names)]
    rows += [_share_line(person_name(person.track), person.measures, names) for person in report.shown]
    return DataTable("Share of each emotion", header, rows, [1.3, *[1.0] * len(names)])


def _share_line(name: str, measures: Statistics, labels: Sequence[str]) -> list[str]:
    return [name, *(percent(measures.shares[label]) if measures.shares[label] else "–" for label in labels)]


def _people_table(report: Report) -> DataTable:
    header = ["Person", "First seen", "Last seen", "Time seen", "Coverage"]
    header += ["Confidence", "Strength", label_name(UNCERTAIN), "Transitions"] if report.labels else []
    rows = []
    for person in report.shown:
        measures = person.measures
        line = [person_name(person.track), seconds(person.first_s), seconds(person.last_s)]
        line += [seconds(len(person.rows) * report.recording.step_s), percent(measures.coverage)]
        if report.labels:
            strength = "–" if measures.strength is None else percent(measures.strength)
            line += [percent(measures.confidence), strength, percent(measures.shares[UNCERTAIN])]
            line.append(str(sum(measures.transitions.values())))
        rows.append(line)
    return DataTable("People", header, rows, [1.3, *[1.0] * (len(header) - 1)])


def _picture_table(report: Report) -> list[Block]:
    by_frame: dict[int, list[str]] = {}
    for row in report.rows:
        by_frame.setdefault(row.sample.frame, []).append(_face_text(row))
    samples = report.recording.samples
    rows = [
        [str(place), shortened(sample.picture, 60), ", ".join(by_frame.get(sample.frame, ["–"]))]
        for place, sample in enumerate(samples[:MAX_ROWS], 1)
    ]
    listed = DataTable("Faces of each picture", ["No.", "Picture", "Faces"], rows, [0.5, 3, 4], left=3)
    return [Subheading("Picture by picture"), listed, *cut_off(len(samples), "frames.csv")]


def _face_text(row: FrameRow) -> str:
    if not row.label:
        return "face"
    name = label_name(row.label)
    return name if row.label == UNCERTAIN else f"{name} {percent(row.score)}"
