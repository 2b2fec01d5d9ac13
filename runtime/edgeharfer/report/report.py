"""All that a report says of one input, in one object, before it becomes files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeharfer.report.analyzer import AnalysisMethod
from edgeharfer.report.record import Observations
from edgeharfer.report.rows import FrameRow, label_rows
from edgeharfer.report.segments import Segment, join_readings
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.report.statistics import (
    PersonStatistics,
    Statistics,
    compute_statistics,
    person_statistics,
    select_shown,
)
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.source.unreadable import describe_unreadable


@dataclass(frozen=True)
class SourceFacts:
    """What was opened.

    skipped: (file name, why) of files that could not be read, or only in part. unreadable: how many
    pictures or frames that are. complaints: lines for the person who asked.
    """

    name: str
    details: str
    size: tuple[int, int]
    fps: float | None
    skipped: tuple[tuple[str, str], ...] = ()
    unreadable: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """One input, watched and measured.

    group: everybody together. persons: everybody tracked. shown: those with pages of their own.
    only: the report is about this one of them, and `rows` and `group` are hers or his.
    """

    source: SourceFacts
    method: AnalysisMethod
    smoothing: Smoothing
    recording: Observations
    rows: tuple[FrameRow, ...]
    group: Statistics
    persons: tuple[PersonStatistics, ...]
    shown: tuple[PersonStatistics, ...]
    segments: tuple[Segment, ...]
    only: int | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions by name; none when they are off."""
        return self.method.labels

    @property
    def stills(self) -> bool:
        return self.recording.stills

    def for_person(self, person: PersonStatistics) -> Report:
        """The same for one person alone; actions are the scene's and left out."""
        return replace(
            self,
            rows=person.rows,
            group=person.measures,
            persons=(person,),
            shown=(person,),
            segments=(),
            only=person.track,
        )


def make_report(
    source: SourceFacts, method: AnalysisMethod, smoothing: Smoothing, recording: Observations
) -> Report:
    """Smooth, label and measure a recording."""
    threshold = method.emotion.threshold if method.emotion else 0.0
    rows = label_rows(recording, method.labels, threshold, smoothing)
    samples = len(recording.samples)
    persons = person_statistics(rows, method.labels, samples)
    return Report(
        source,
        method,
        smoothing,
        recording,
        rows,
        compute_statistics(rows, method.labels, samples),
        persons,
        select_shown(persons, recording),
        action_segments(method, recording),
    )


def action_segments(method: AnalysisMethod, recording: Observations) -> tuple[Segment, ...]:
    """What went on, as stretches of time with one label."""
    if method.window is None or not recording.readings:
        return ()
    step_s = max(method.window.seconds / method.window.frames, recording.duration_s / recording.frames)
    return join_readings(recording.readings, step_s, recording.duration_s)


def source_facts(source: Source) -> SourceFacts:
    """The facts of a source, once it is read to its end: what it skipped is not known before."""
    skipped = tuple((path.name, why) for path, why in source.skipped)
    return SourceFacts(
        Path(source.name).name,
        source.details,
        source.size or (0, 0),
        source.fps,
        skipped,
        source.unreadable,
        tuple(describe_unreadable(source)),
    )
