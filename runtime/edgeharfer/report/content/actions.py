"""The section on the actions of the scene."""

from __future__ import annotations

from xml.sax.saxutils import escape

from edgeharfer.report.content import texts
from edgeharfer.report.content.blocks import Block, ChartView, DataTable, Paragraph, Section, Subheading
from edgeharfer.report.content.texts import MAX_ROWS, cut_off
from edgeharfer.report.report import Report
from edgeharfer.report.segments import Segment, seconds_by_label
from edgeharfer.report.words import label_name, percent, seconds


def actions(report: Report) -> Section:
    """The section on the actions of the scene."""
    summary = escape(texts.action_summary(report))
    blocks: list[Block] = [Paragraph(summary)]
    if not report.segments:
        return Section("actions", "Actions", blocks)
    times = seconds_by_label(report.segments)
    total_s = sum(times.values()) or 1.0
    rows = [[label_name(label), seconds(time), percent(time / total_s)] for label, time in times.items()]
    lines = [_segment_line(item) for item in report.segments[:MAX_ROWS]]
    header = ["Segment", "Start (s)", "End (s)", "Length (s)", "Mean score"]
    blocks += [
        ChartView(
            ("gantt", None), f"Chart of the actions over time, one row each. {texts.action_summary(report)}"
        ),
        Subheading("Time of each"),
        DataTable("Time of each action", ["Action", "Time", "Share"], rows, [4, 1, 1]),
        Subheading("Segments"),
        DataTable("Segments of one action", header, lines, [3, 1, 1, 1, 1]),
        *cut_off(len(report.segments), "actions.csv"),
    ]
    return Section("actions", "Actions", blocks)


def _segment_line(item: Segment) -> list[str]:
    times_s = (item.start_s, item.end_s, item.length_s)
    return [label_name(item.label), *(f"{time_s:.2f}" for time_s in times_s), percent(item.score)]
