"""Shares, transitions, confidence and coverage of one person or of all faces.

All of them can be computed from the lines of `frames.csv`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from edgeharfer.report.record import Observations
from edgeharfer.report.rows import FrameRow
from edgeharfer.runtime.types import UNCERTAIN

MIN_SEEN_S = 1.0
"""Minimum time in view for a page of one's own; at most a quarter of the input's length."""
MAX_SHOWN = 20
"""Maximum number of persons with a page of their own; those seen longest are chosen."""
MAX_LABELS = 10
"""Maximum number of emotions in a table or chart."""


@dataclass(frozen=True)
class Statistics:
    """Statistics over the lines of one person or of all faces.

    Attributes:
        sightings: Number of lines with a face.
        coverage: Share of the samples with at least one of these faces.
        shares: Share of the sightings by label; "uncertain" is last.
        mean_raw: Mean probability by label before smoothing.
        confidence: Mean probability of the best class after smoothing.
        strength: Mean strength of the emotions; None if it is not known.
        transitions: Count by (from, to) of changes between two named labels within a track; "uncertain"
            in between is skipped.
    """

    sightings: int
    coverage: float
    shares: Mapping[str, float]
    mean_raw: Mapping[str, float]
    confidence: float
    strength: float | None
    transitions: Mapping[tuple[str, str], int]

    @property
    def leader(self) -> tuple[str, float] | None:
        """The most frequent named label and its share; None if all faces are uncertain."""
        named = {label: share for label, share in self.shares.items() if label != UNCERTAIN and share > 0}
        return max(named.items(), key=lambda item: item[1]) if named else None


@dataclass(frozen=True)
class PersonStatistics:
    """The lines and statistics of one track."""

    track: int
    rows: tuple[FrameRow, ...]
    measures: Statistics

    @property
    def first_s(self) -> float:
        """Time of the first sample with this face."""
        return self.rows[0].sample.time_s

    @property
    def last_s(self) -> float:
        """Time of the last sample with this face."""
        return self.rows[-1].sample.time_s


def compute_statistics(rows: Sequence[FrameRow], labels: Sequence[str], samples: int) -> Statistics:
    """Compute statistics.

    Args:
        rows: Lines in order of time.
        labels: Names of the emotions; empty when the task is off.
        samples: Number of samples of the recording, for the coverage.

    Returns:
        The statistics; all zero without rows.
    """
    count = len(rows)
    frames = {row.sample.frame for row in rows}
    raw = np.mean([row.face.raw for row in rows], axis=0) if rows and labels else np.zeros(len(labels))
    counts = Counter(row.label for row in rows)
    strengths = [row.strength for row in rows if row.strength is not None]
    names = (*labels, UNCERTAIN) if labels else ()
    return Statistics(
        sightings=count,
        coverage=len(frames) / samples if samples else 0.0,
        shares={name: counts[name] / count if count else 0.0 for name in names},
        mean_raw=dict(zip(labels, raw.tolist(), strict=True)),
        confidence=sum(row.score for row in rows) / count if count else 0.0,
        strength=sum(strengths) / len(strengths) if strengths else None,
        transitions=count_transitions(rows),
    )


def count_transitions(rows: Iterable[FrameRow]) -> dict[tuple[str, str], int]:
    """Count label changes within each track, most frequent first."""
    named: dict[int, list[str]] = {}
    for row in rows:
        if row.label not in ("", UNCERTAIN):
            named.setdefault(row.face.track, []).append(row.label)
    transitions = Counter(
        pair for labels in named.values() for pair in pairwise(labels) if pair[0] != pair[1]
    )
    return dict(sorted(transitions.items(), key=lambda item: (-item[1], item[0])))


def person_statistics(
    rows: Iterable[FrameRow], labels: Sequence[str], samples: int
) -> tuple[PersonStatistics, ...]:
    """Statistics of each track, ordered by track number."""
    by_track: dict[int, list[FrameRow]] = {}
    for row in rows:
        by_track.setdefault(row.face.track, []).append(row)
    return tuple(
        PersonStatistics(track, tuple(own), compute_statistics(own, labels, samples))
        for track, own in sorted(by_track.items())
    )


def main_labels(labels: Sequence[str], measures: Statistics) -> list[str]:
    """The MAX_LABELS most probable labels, in the order of the model."""
    likely = sorted(labels, key=lambda label: -measures.mean_raw[label])[:MAX_LABELS]
    return [label for label in labels if label in likely]


def select_shown(
    persons: Sequence[PersonStatistics], recording: Observations
) -> tuple[PersonStatistics, ...]:
    """Choose the persons that get a page of their own, ordered by track number.

    Several pictures have none, since faces are not tracked across pictures.
    """
    if recording.stills and len(recording.samples) > 1:
        return ()
    least_s = min(MIN_SEEN_S, recording.duration_s / 4)
    seen = [person for person in persons if len(person.rows) * recording.step_s >= least_s]
    longest = sorted(seen, key=lambda person: -len(person.rows))[:MAX_SHOWN]
    return tuple(sorted(longest, key=lambda person: person.track))
