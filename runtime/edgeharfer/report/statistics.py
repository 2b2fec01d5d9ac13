"""Shares, transitions, confidence and coverage, for one person or for all.

All of them are counts of the lines of `frames.csv`, so anyone can compute them anew.
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
"""Faces seen for less have no page of their own; in a shorter input, a quarter of it is enough."""
MAX_SHOWN = 20
"""People with pages of their own: those seen longest."""
MAX_LABELS = 10
"""Emotions that stand beside each other in a table or chart."""


@dataclass(frozen=True)
class Statistics:
    """What the lines of one person, or of all, come to.

    sightings: lines with a face. coverage: share of the samples with at least one of them.
    shares: of the sightings by label, "uncertain" last. mean_raw: probabilities before smoothing.
    confidence: mean probability of the best class after smoothing. transitions: from one named label to
    another, counted in each track, "uncertain" in between passed over.
    """

    sightings: int
    coverage: float
    shares: Mapping[str, float]
    mean_raw: Mapping[str, float]
    confidence: float
    transitions: Mapping[tuple[str, str], int]

    @property
    def leader(self) -> tuple[str, float] | None:
        """The most frequent named label and its share; None where no face got a name."""
        named = {label: share for label, share in self.shares.items() if label != UNCERTAIN and share > 0}
        return max(named.items(), key=lambda item: item[1]) if named else None


@dataclass(frozen=True)
class PersonStatistics:
    """A face followed from when it came into view until it left."""

    track: int
    rows: tuple[FrameRow, ...]
    measures: Statistics

    @property
    def first_s(self) -> float:
        return self.rows[0].sample.time_s

    @property
    def last_s(self) -> float:
        return self.rows[-1].sample.time_s


def compute_statistics(rows: Sequence[FrameRow], labels: Sequence[str], samples: int) -> Statistics:
    """Measures of some rows, in order of time, out of so many samples."""
    count = len(rows)
    frames = {row.sample.frame for row in rows}
    raw = np.mean([row.face.raw for row in rows], axis=0) if rows and labels else np.zeros(len(labels))
    found = Counter(row.label for row in rows)
    names = (*labels, UNCERTAIN) if labels else ()
    return Statistics(
        sightings=count,
        coverage=len(frames) / samples if samples else 0.0,
        shares={name: found[name] / count if count else 0.0 for name in names},
        mean_raw=dict(zip(labels, raw.tolist(), strict=True)),
        confidence=sum(row.score for row in rows) / count if count else 0.0,
        transitions=count_transitions(rows),
    )


def count_transitions(rows: Iterable[FrameRow]) -> dict[tuple[str, str], int]:
    """How often a track's label turned from one into another, most frequent first."""
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
    """Everyone tracked, by number."""
    by_track: dict[int, list[FrameRow]] = {}
    for row in rows:
        by_track.setdefault(row.face.track, []).append(row)
    return tuple(
        PersonStatistics(track, tuple(mine), compute_statistics(mine, labels, samples))
        for track, mine in sorted(by_track.items())
    )


def main_labels(labels: Sequence[str], measures: Statistics) -> list[str]:
    """The labels that there is room for: all of a usual package, else the most probable, in its order."""
    likely = sorted(labels, key=lambda label: -measures.mean_raw[label])[:MAX_LABELS]
    return [label for label in labels if label in likely]


def select_shown(
    persons: Sequence[PersonStatistics], recording: Observations
) -> tuple[PersonStatistics, ...]:
    """Those who get pages of their own, by number.

    Over several photographs there are none: nobody is followed from one to the next.
    """
    if recording.stills and len(recording.samples) > 1:
        return ()
    least_s = min(MIN_SEEN_S, recording.duration_s / 4)
    seen = [person for person in persons if len(person.rows) * recording.step_s >= least_s]
    longest = sorted(seen, key=lambda person: -len(person.rows))[:MAX_SHOWN]
    return tuple(sorted(longest, key=lambda person: person.track))
