"""Time segments with one label, of actions and of one person's emotions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from edgeharfer.report.record import SCORE_DIGITS, TIME_DIGITS, ActionReading
from edgeharfer.report.rows import FrameRow

_MAX_GAP_STEPS = 2.01
"""Maximum distance of two readings in one segment, in steps.

Neighbours are up to two steps apart if the sampling grid does not match the frame times."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A time span with one label. `score` is the mean score of its readings."""

    start_s: float
    end_s: float
    label: str
    score: float

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


def join_readings(readings: Sequence[ActionReading], step_s: float, end_s: float) -> tuple[Segment, ...]:
    """Join readings to segments.

    Args:
        readings: Readings in order of time.
        step_s: Seconds that one reading represents.
        end_s: End of the source, which limits the last segment.
    """
    keyed = zip(_segment_numbers(readings, step_s), readings, strict=True)
    runs = [[reading for _, reading in group] for _, group in groupby(keyed, key=lambda pair: pair[0])]
    starts = [run[0].time_s for run in runs]
    segments = []
    for i, run in enumerate(runs):
        following_s = starts[i + 1] if i + 1 < len(runs) else end_s
        last_s = run[-1].time_s
        stop_s = following_s if following_s - last_s <= _MAX_GAP_STEPS * step_s else last_s + step_s
        score = sum(reading.score for reading in run) / len(run)
        stop_s = round(min(stop_s, max(end_s, last_s)), TIME_DIGITS)
        segments.append(Segment(run[0].time_s, stop_s, run[0].label, round(score, SCORE_DIGITS)))
    return tuple(segments)


def emotion_segments(rows: Sequence[FrameRow], step_s: float, end_s: float) -> tuple[Segment, ...]:
    """Join the rows of one person to segments, with gaps while the face is out of view."""
    return join_readings(
        [ActionReading(row.sample.time_s, row.label, row.score) for row in rows], step_s, end_s
    )


def _segment_numbers(readings: Sequence[ActionReading], step_s: float) -> Iterator[int]:
    """The number of the segment that each reading belongs to."""
    number = 0
    previous: ActionReading | None = None
    for reading in readings:
        if previous is not None:
            gap = reading.time_s - previous.time_s > _MAX_GAP_STEPS * step_s
            number += gap or reading.label != previous.label
        yield number
        previous = reading


def seconds_by_label(segments: Sequence[Segment]) -> dict[str, float]:
    """Total seconds by label, longest first."""
    totals: dict[str, float] = {}
    for segment in segments:
        totals[segment.label] = totals.get(segment.label, 0.0) + segment.length_s
    return dict(sorted(totals.items(), key=lambda item: -item[1]))
