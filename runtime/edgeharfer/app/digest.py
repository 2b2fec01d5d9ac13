"""Digest of a report for the page: downsampled to a bounded size, however long the video is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeharfer.app.likely import LikelyActions
from edgeharfer.app.scene import intensity_to_dict
from edgeharfer.report.report import Report
from edgeharfer.report.rows import FrameRow
from edgeharfer.report.statistics import PersonStatistics
from edgeharfer.report.summary import round_values
from edgeharfer.runtime.tasks.intensity import IntensityEstimator
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN

MAX_POINTS = 400
MAX_BOXES = 2400
"""Boxes of a person over the video: four a second in ten minutes."""
MAX_PEOPLE = 12
MAX_SEGMENTS = 200
MIN_MESSAGE_SHARE = 0.5
"""Smallest share of the time that a person's main emotion needs for a message about it."""
FORMAT = 1


@dataclass(frozen=True)
class ReportDigest:
    """Makes the digest of a report.

    Attributes:
        intensity: Estimates how strong an emotion looks.
        likely: Suggests likely activities.
        messages: Message for each emotion label.
    """

    intensity: IntensityEstimator
    likely: LikelyActions
    messages: Mapping[str, str]

    def digest(self, report: Report) -> dict[str, Any]:
        """The digest as a JSON-serialisable dictionary: times in seconds, shares 0 to 1, boxes in pixels."""
        people = _longest(report)
        return {
            "format": FORMAT,
            "name": report.source.name,
            "kind": "pictures" if report.stills else "video",
            "width": report.source.size[0],
            "height": report.source.size[1],
            "duration_s": report.recording.duration_s,
            "frames": report.recording.frames,
            "samples": len(report.recording.samples),
            "step_s": round(report.recording.step_s, 4),
            "smoothing": report.smoothing.method,
            "labels": list(report.labels),
            "people_seen": len(report.persons),
            "group": {
                "coverage": round(report.group.coverage, 4),
                "confidence": round(report.group.confidence, 4),
                "shares": round_values(report.group.shares),
                **intensity_to_dict(self._mean_intensity(report.rows, report.labels)),
            },
            "people": [self._person(person, report) for person in people],
            "actions": [
                {"label": one.label, "start_s": one.start_s, "end_s": one.end_s, "score": one.score}
                for one in report.segments[:MAX_SEGMENTS]
            ],
            "likely": self._suggestions(report),
        }

    def _person(self, person: PersonStatistics, report: Report) -> dict[str, Any]:
        leader = person.measures.leader
        share = leader[1] if leader else 0.0
        return {
            "track": person.track,
            "seen_s": round(len(person.rows) * report.recording.step_s, 3),
            "shares": round_values(person.measures.shares),
            "label": leader[0] if leader else UNCERTAIN,
            "share": round(share, 4),
            **intensity_to_dict(self._mean_intensity(person.rows, report.labels)),
            "message": self.messages.get(leader[0], "") if leader and share >= MIN_MESSAGE_SHARE else "",
            "best": _best(person.rows),
            "points": [self._point(rows, report.labels) for rows in _bins(person.rows, MAX_POINTS)],
            "boxes": [] if report.stills else [_box(rows[0]) for rows in _bins(person.rows, MAX_BOXES)],
        }

    def _point(self, rows: Sequence[FrameRow], labels: Sequence[str]) -> dict[str, Any]:
        """One point of the chart for a bin of consecutive samples."""
        middle = rows[len(rows) // 2]
        strength = self._mean_intensity(rows, labels)
        return {
            "t": middle.sample.time_s,
            "label": middle.label,
            "score": middle.score,
            "intensity": None if strength is None else round(strength, 4),
            "probs": [round(p, 4) for p in _mean_probs(rows)],
            "box": middle.face.box.rounded(),
        }

    def _mean_intensity(self, rows: Sequence[FrameRow], labels: Sequence[str]) -> float | None:
        intensities = [
            self.intensity.estimate(dict(zip(labels, row.probs, strict=True))) for row in rows if row.probs
        ]
        known = [one for one in intensities if one is not None]
        return sum(known) / len(known) if known else None

    def _suggestions(self, report: Report) -> list[dict[str, Any]]:
        seen = [row for row in report.rows if row.probs]
        emotion = dict(zip(report.labels, _mean_probs(seen), strict=True)) if seen else {}
        suggestions = self.likely.suggest(emotion, _mean_action(report))
        return [{"activity": one.activity, "probability": round(one.probability, 4)} for one in suggestions]


def _longest(report: Report) -> list[PersonStatistics]:
    """The people in view for the longest time, at most `MAX_PEOPLE`, ordered by track number."""
    longest = sorted(report.persons, key=lambda person: -len(person.rows))[:MAX_PEOPLE]
    return sorted(longest, key=lambda person: person.track)


def _best(rows: Sequence[FrameRow]) -> dict[str, Any]:
    """When the face is seen best, and its box then: the largest one that the detector is sure of."""
    best = max(rows, key=lambda row: row.face.score * row.face.box.area)
    return {"t": best.sample.time_s, "box": best.face.box.rounded()}


def _box(row: FrameRow) -> dict[str, Any]:
    """A sample of a face, to be marked in the video."""
    return {"t": row.sample.time_s, "label": row.label, "score": row.score, "box": row.face.box.rounded()}


def _bins(rows: Sequence[FrameRow], most: int) -> list[Sequence[FrameRow]]:
    """Split the rows, in order of time, into at most `most` bins."""
    size = -(-len(rows) // most)
    return [rows[start : start + size] for start in range(0, len(rows), max(1, size))]


def _mean_probs(rows: Sequence[FrameRow]) -> list[float]:
    known = [row.probs for row in rows if row.probs]
    return [float(value) for value in np.mean(known, axis=0)] if known else []


def _mean_action(report: Report) -> dict[str, float]:
    """Score-weighted share of the time of each action; the sum is below 1 if some of it is unknown."""
    readings = report.recording.readings
    totals: dict[str, float] = {}
    for reading in readings:
        if reading.label not in (UNCERTAIN, BACKGROUND):
            totals[reading.label] = totals.get(reading.label, 0.0) + reading.score
    return {label: total / len(readings) for label, total in totals.items()}
