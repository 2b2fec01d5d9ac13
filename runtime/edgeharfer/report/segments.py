"""Stretches of time with one label: of actions, and of one person's emotions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from edgeharfer.report.record import SCORE_DIGITS, TIME_DIGITS, ActionReading
from edgeharfer.report.rows import FrameRow

_SLACK = 2.01
"""Readings farther apart than so many steps do not belong together.

On a grid that fits the frames badly, neighbours are up to two steps apart."""


@dataclass(frozen=True, slots=True)
class Segment:
    """From `start_s` to `end_s` the label was the same. score: the mean of its readings."""

    start_s: float
    end_s: float
    label: str
    score: float

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


def join_readings(readings: Sequence[ActionReading], step_s: float, end_s: float) -> tuple[Segment, ...]:
    """Segments of readings in order of time, each standing for `step_s`, none longer than the source."""
    keyed = zip(_stretches(readings, step_s), readings, strict=True)
    runs = [[reading for _, reading in group] for _, group in groupby(keyed, key=lambda pair: pair[0])]
    starts = [run[0].time_s for run in runs]
    segments = []
    for i, run in enumerate(runs):
        following_s = starts[i + 1] if i + 1 < len(runs) else end_s
        last_s = run[-1].time_s
        stop_s = following_s if following_s - last_s <= _SLACK * step_s else last_s + step_s
        score = sum(reading.score for reading in run) / len(run)
        stop_s = round(min(stop_s, max(end_s, last_s)), TIME_DIGITS)
        segments.append(Segment(run[0].time_s, stop_s, run[0].label, round(score, SCORE_DIGITS)))
    return tuple(segments)


def emotion_segments(rows: Sequence[FrameRow], step_s: float, end_s: float) -> tuple[Segment, ...]:
    """Segments of one person's rows; where the face was out of view there is none."""
    return join_readings(
        [ActionReading(row.sample.time_s, row.label, row.score) for row in rows], step_s, end_s
    )


def _stretches(readings: Sequence[ActionReading], step_s: float) -> Iterator[int]:
    """A number for each reading that grows where a new segment begins."""
    stretch = 0
    before: ActionReading | None = None
    for reading in readings:
        if before is not None:
            apart = reading.time_s - before.time_s > _SLACK * step_s
            stretch += apart or reading.label != before.label
        yield stretch
        before = reading


def seconds_by_label(segments: Sequence[Segment]) -> dict[str, float]:
    """Time of each label, longest first."""
    totals: dict[str, float] = {}
    for segment in segments:
        totals[segment.label] = totals.get(segment.label, 0.0) + segment.length_s
    return dict(sorted(totals.items(), key=lambda item: -item[1]))
