"""The pages on all faces together and on the actions of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reportlab.platypus import KeepTogether

from edgeharfer.report.pdf import styles, texts
from edgeharfer.report.pdf.parts import ChartFlowables, OutlineEntry, gap, side_by_side, table, words
from edgeharfer.report.report import Report
from edgeharfer.report.rows import FrameRow
from edgeharfer.report.segments import Segment, seconds_by_label
from edgeharfer.report.statistics import Statistics, main_labels
from edgeharfer.report.words import counted, label_name, percent, person_name, seconds, shortened
from edgeharfer.runtime.types import UNCERTAIN

_MAX_ROWS = 400
"""Maximum number of lines in a table; the CSV files hold all."""
_MAX_PAIRS = 8


def group(report: Report, charts: ChartFlowables) -> list[Any]:
    """The page on all faces together."""
    parts = [
        OutlineEntry("group", "Everybody"),
        words("Everybody", styles.HEADING),
        words(_in_words(report)),
        charts.chart("emotions"),
        gap(8),
        shares(charts, None),
    ]
    if report.stills:
        return parts + _picture_table(report)
    if report.labels and report.shown:
        parts += [words("Share of each emotion", styles.SUBHEADING), _share_table(report)]
    parts += [
        gap(6),
        KeepTogether([words("Confidence and coverage", styles.SUBHEADING), charts.chart("confidence")]),
    ]
    if report.shown:
        parts += [gap(4), _people_table(report)]
    return [*parts, gap(4), transitions(report.group, charts, None)] if report.labels else parts


def shares(charts: ChartFlowables, track: int | None) -> Any:
    """The bar chart and the pie chart side by side."""
    return side_by_side(charts.chart("bar", track), charts.chart("pie", track))


def transitions(measures: Statistics, charts: ChartFlowables, track: int | None) -> Any:
    """The chart of transitions and a table of the most frequent ones."""
    heading = words("Transitions", styles.SUBHEADING)
    if not measures.transitions:
        return KeepTogether([heading, words("No face changed from one named emotion to another.")])
    rows = [
        [f"{label_name(before)} to {label_name(after).lower()}", str(count)]
        for (before, after), count in list(measures.transitions.items())[:_MAX_PAIRS]
    ]
    total = sum(measures.transitions.values())
    header = [f"Most frequent of {total}", "Times"]
    listed = table(header, rows, [3, 1], width=0.4 * styles.CONTENT_WIDTH)
    return KeepTogether(
        [heading, side_by_side(charts.chart("transitions", track), listed, shares=(0.56, 0.44))]
    )


def actions(report: Report, charts: ChartFlowables) -> list[Any]:
    """The page on the actions of the scene."""
    parts = [
        OutlineEntry("actions", "Actions"),
        words("Actions", styles.HEADING),
        words(texts.action_summary(report)),
        charts.chart("gantt"),
        gap(6),
    ]
    if not report.segments:
        return parts
    times = seconds_by_label(report.segments)
    total_s = sum(times.values()) or 1.0
    rows = [[label_name(label), seconds(time), percent(time / total_s)] for label, time in times.items()]
    parts += [words("Time of each", styles.SUBHEADING), table(["Action", "Time", "Share"], rows, [4, 1, 1])]
    lines = [_segment_line(item) for item in report.segments[:_MAX_ROWS]]
    header = ["Segment", "Start (s)", "End (s)", "Length (s)", "Mean score"]
    parts += [words("Segments", styles.SUBHEADING), table(header, lines, [3, 1, 1, 1, 1])]
    return parts + _cut_off(len(report.segments), "actions.csv")


def _segment_line(item: Segment) -> list[str]:
    times_s = (item.start_s, item.end_s, item.length_s)
    return [label_name(item.label), *(f"{time_s:.2f}" for time_s in times_s), percent(item.score)]


def _in_words(report: Report) -> str:
    measures = report.group
    text = (
        f"{counted(measures.sightings, 'sighting')} of faces in "
        f"{counted(len(report.recording.samples), 'picture' if report.stills else 'sample')}; "
        f"a face was seen in {percent(measures.coverage)} of them."
    )
    sure = report.labels and measures.sightings
    return f"{text} Mean confidence {percent(measures.confidence)}." if sure else text


def _share_table(report: Report) -> Any:
    """A table of the share of each label, for everybody and for each person."""
    names = [*main_labels(report.labels, report.group), UNCERTAIN]
    header = ["", *(shortened(label_name(name), 10) for name in names)]
    rows = [_share_line("Everybody", report.group, names)]
    rows += [_share_line(person_name(person.track), person.measures, names) for person in report.shown]
    return table(header, rows, [1.3, *[1.0] * len(names)])


def _share_line(name: str, measures: Statistics, labels: Sequence[str]) -> list[str]:
    return [name, *(percent(measures.shares[label]) if measures.shares[label] else "–" for label in labels)]


def _people_table(report: Report) -> Any:
    header = ["", "First seen", "Last seen", "Time seen", "Coverage"]
    header += ["Confidence", label_name(UNCERTAIN), "Transitions"] if report.labels else []
    rows = []
    for person in report.shown:
        measures = person.measures
        line = [person_name(person.track), seconds(person.first_s), seconds(person.last_s)]
        line += [seconds(len(person.rows) * report.recording.step_s), percent(measures.coverage)]
        if report.labels:
            line += [percent(measures.confidence), percent(measures.shares[UNCERTAIN])]
            line.append(str(sum(measures.transitions.values())))
        rows.append(line)
    return table(header, rows, [1.3, *[1.0] * (len(header) - 1)])


def _picture_table(report: Report) -> list[Any]:
    by_frame: dict[int, list[str]] = {}
    for row in report.rows:
        by_frame.setdefault(row.sample.frame, []).append(_face_text(row))
    samples = report.recording.samples
    rows = [
        [str(place), shortened(sample.picture, 60), ", ".join(by_frame.get(sample.frame, ["–"]))]
        for place, sample in enumerate(samples[:_MAX_ROWS], 1)
    ]
    header = ["No.", "Picture", "Faces"]
    parts = [words("Picture by picture", styles.SUBHEADING), table(header, rows, [0.5, 3, 4], left=3)]
    return parts + _cut_off(len(samples), "frames.csv")


def _face_text(row: FrameRow) -> str:
    if not row.label:
        return "face"
    name = label_name(row.label)
    return name if row.label == UNCERTAIN else f"{name} {percent(row.score)}"


def _cut_off(count: int, file: str) -> list[Any]:
    if count <= _MAX_ROWS:
        return []
    return [gap(4), words(f"The first {_MAX_ROWS} of {count}; {file} holds them all.", styles.SMALL)]
