"""The charts of a report, each drawn once and used for the PDFs, the pages and the PNG files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from pypdf import PageObject, PdfReader

from edgeharfer.report.charts.confidence import confidence
from edgeharfer.report.charts.pictures import pictures
from edgeharfer.report.charts.shares import bar, pie, slim_bar
from edgeharfer.report.charts.style import pdf_pages, png
from edgeharfer.report.charts.timeline import emotion_strips, gantt, narrow_curves, person_curves, timeline
from edgeharfer.report.charts.transitions import transitions
from edgeharfer.report.report import Report
from edgeharfer.report.statistics import Statistics

Key = tuple[str, int | None]

ONLY_PNG = ("timeline", "curves")
"""Charts that no PDF holds."""


class ChartBook:
    """All charts of a report.

    Attributes:
        figures: Charts by (name, track number); the track is None for all faces together. Names are
            "emotions", "confidence", "gantt" and "timeline" for all faces, "curves" for each person, with
            "narrow" and "slim" (the curves and the bars with a size to be next to each other), and "bar",
            "pie" and "transitions" for both. Charts without data are missing.
    """

    def __init__(self, report: Report) -> None:
        self.figures: dict[Key, Any] = {(name, None): figure for name, figure in _group_charts(report)}
        self._png: dict[Key, bytes] = {}
        self._add(report, report.group, None)
        for person in report.shown:
            self._add(report, person.measures, person.track)
            if not report.stills:
                self.figures["curves", person.track] = person_curves(report, person)
                self.figures["narrow", person.track] = narrow_curves(report, person)
                self.figures["slim", person.track] = slim_bar(report, person.measures)

    def _add(self, report: Report, measures: Statistics, track: int | None) -> None:
        self.figures["bar", track] = bar(report, measures)
        self.figures["pie", track] = pie(report, measures)
        if measures.transitions:
            self.figures["transitions", track] = transitions(measures)

    @cached_property
    def pages(self) -> dict[Key, PageObject]:
        """Each chart as a page of a vector PDF."""
        figures = {key: figure for key, figure in self.figures.items() if key[0] not in ONLY_PNG}
        reader = PdfReader(io.BytesIO(pdf_pages(list(figures.values()))))
        return dict(zip(figures, reader.pages, strict=True))

    def png(self, chart: Key) -> bytes:
        """A chart as a PNG file."""
        if chart not in self._png:
            self._png[chart] = png(self.figures[chart])
        return self._png[chart]


def _group_charts(report: Report) -> Iterator[tuple[str, Any]]:
    if report.stills:
        yield "emotions", pictures(report)
        return
    yield "emotions", emotion_strips(report)
    yield "timeline", timeline(report)
    yield "confidence", confidence(report)
    if report.method.action:
        yield "gantt", gantt(report)
