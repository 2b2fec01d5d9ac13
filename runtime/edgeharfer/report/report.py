"""The contents of a report on one input, before they are written to files."""

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
    """Properties of the analysed source.

    Attributes:
        name: File name.
        details: Description for people, such as codec and size.
        size: Width and height in pixels.
        fps: Frames per second; None for pictures or where the container does not state it.
        skipped: (file name, reason) of each file that could not be read completely.
        unreadable: Number of pictures or frames that could not be read.
        warnings: Messages for the user.
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
    """Observations of one input with labels and statistics.

    Attributes:
        rows: The lines of `frames.csv`.
        group: Statistics of all faces together.
        persons: Statistics of each track.
        shown: The persons that have a page of their own.
        segments: Action segments of the scene.
        only: Track number in a report on one person, whose rows and statistics `rows` and `group` then
            hold; None in the whole report.
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
        """Names of the emotions; empty when the task is off."""
        return self.method.labels

    @property
    def stills(self) -> bool:
        """Whether the input consists of pictures instead of a video."""
        return self.recording.stills

    def for_person(self, person: PersonStatistics) -> Report:
        """The report on one person, without actions, which belong to the whole scene."""
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
    """Smooth and label observations and compute their statistics."""
    threshold = method.emotion.threshold if method.emotion else 0.0
    rows = label_rows(recording, method.labels, threshold, smoothing, method.strength)
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
    """Join the action readings of a recording to segments with one label each."""
    if method.window is None or not recording.readings:
        return ()
    step_s = max(method.window.seconds / method.window.frames, recording.duration_s / recording.frames)
    return join_readings(recording.readings, step_s, recording.duration_s)


def source_facts(source: Source) -> SourceFacts:
    """Properties of a source. Call it after the source was read to its end, when `skipped` is complete."""
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
