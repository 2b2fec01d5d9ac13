"""Debounced decisions: a label that lasts becomes one start event and one end event.

All times are presentation times of the source in seconds; scores are 0 to 1.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from edgeharfer.kiosk.config import DecisionConfig
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN, Reading

Phase = Literal["start", "end"]
SubjectKey = tuple[str, int | None]
"""Task, and the track of the face or None for the scene."""
NO_DECISION = frozenset({UNCERTAIN, BACKGROUND})
"""Labels that never become a decision."""
FLIP_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """The start or end of a decision.

    Attributes:
        id: Unique id of the event, for deduplication.
        decision: Id of the decision, the same for its start and end.
        kind: The task.
        phase: "start" or "end".
        label: The label.
        person: Track of the face; None for the scene.
        start_s: When the label was first seen.
        end_s: When it ended; None at the start.
        mean_score: Mean score of the label.
        delay_s: From the change of the label to this event.
        reason: Why it ended: "changed", "left", "lost" or "stopped"; "" at the start. The next process ends
            the decisions of a killed one with "process ended" (`end_open_decisions`).
    """

    id: str
    decision: str
    kind: str
    phase: Phase
    label: str
    person: int | None
    start_s: float
    end_s: float | None
    mean_score: float
    delay_s: float
    reason: str = ""

    @property
    def duration_s(self) -> float | None:
        """How long the decision lasted; None at its start."""
        return None if self.end_s is None else self.end_s - self.start_s


@dataclass(slots=True)
class _Run:
    """An uninterrupted run of one label."""

    label: str
    since_s: float
    last_s: float
    total: float = 0.0
    count: int = 0
    decision: str = ""

    def add(self, score: float, now_s: float) -> None:
        self.total, self.count, self.last_s = self.total + score, self.count + 1, now_s

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


class DecisionState:
    """The decision about one subject, the scene or a face, for one task.

    A label becomes a decision after `min_duration_s`. The decision ends when another label, or none, has
    lasted as long. The same label cannot start again for `cooldown_s` after its end.

    Args:
        kind: The task.
        person: Track of the face; None for the scene.
        rules: The thresholds.
    """

    def __init__(self, kind: str, person: int | None, rules: DecisionConfig) -> None:
        self.kind, self.person, self._rules = kind, person, rules
        self._current: _Run | None = None
        self._pending: _Run | None = None
        self._ended_s: dict[str, float] = {}

    @property
    def label(self) -> str | None:
        """The label of the current decision."""
        return self._current.label if self._current else None

    def update(
        self, label: str | None, score: float, now_s: float, absent: str = "changed"
    ) -> Iterator[Event]:
        """Update with the current label.

        Args:
            label: The label; None if there is none.
            score: Its score.
            now_s: The time.
            absent: Reason for the end of a decision that no other label follows.
        """
        current = self._current
        if current is not None and current.label == label:
            current.add(score, now_s)
            self._pending = None
            return
        if self._pending is None or self._pending.label != (label or ""):
            self._pending = _Run(label or "", now_s, now_s)
        self._pending.add(score, now_s)
        if now_s - self._pending.since_s < self._rules.min_duration_s:
            return
        if current is not None:
            yield self._end(current, self._pending.since_s, now_s, "changed" if label else absent)
        if label is not None and self._may_start(label, now_s):
            yield self._start(self._pending, now_s)

    def close(self, now_s: float, reason: str) -> Iterator[Event]:
        """End the current decision at the time its label was last seen."""
        if self._current is not None:
            yield self._end(self._current, self._current.last_s, now_s, reason)
        self._pending = None

    def _may_start(self, label: str, now_s: float) -> bool:
        ended_s = self._ended_s.get(label)
        return ended_s is None or now_s - ended_s >= self._rules.cooldown_s

    def _start(self, run: _Run, now_s: float) -> Event:
        self._current, self._pending = run, None
        run.decision = uuid.uuid4().hex
        return self._event(run, "start", None, now_s - run.since_s)

    def _end(self, run: _Run, end_s: float, now_s: float, reason: str) -> Event:
        self._current = None
        self._ended_s[run.label] = end_s
        return self._event(run, "end", end_s, now_s - end_s, reason)

    def _event(self, run: _Run, phase: Phase, end_s: float | None, delay_s: float, reason: str = "") -> Event:
        return Event(
            f"{run.decision}-{phase}", run.decision, self.kind, phase, run.label, self.person,
            run.since_s, end_s, run.mean, delay_s, reason,
        )  # fmt: skip


class FlipCounter:
    """Counts label changes within the last minute."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now_s: float) -> None:
        """Count a change."""
        self._times.append(now_s)

    def per_minute(self, now_s: float) -> int:
        """Number of changes in the last minute."""
        while self._times and now_s - self._times[0] > FLIP_WINDOW_S:
            self._times.popleft()
        return len(self._times)


class Decisions:
    """The decisions for a stream of results: for each task with labels, for the scene and for each face.

    Args:
        rules: The thresholds.
        floors: Task -> label -> minimum score from the site's calibration; the larger of it and
            `rules.min_score` applies.

    Attributes:
        raw_flips: Label changes of the models.
        decided_flips: Label changes of the decisions.
        now_s: Time of the last result.
    """

    def __init__(
        self, rules: DecisionConfig, floors: Mapping[str, Mapping[str, float]] | None = None
    ) -> None:
        self._rules, self._floors = rules, floors or {}
        self._subjects: dict[SubjectKey, DecisionState] = {}
        self._raw: dict[SubjectKey, str | None] = {}
        self.raw_flips, self.decided_flips = FlipCounter(), FlipCounter()
        self.now_s = 0.0

    def for_another_source(self) -> Decisions:
        """Return decisions with the same thresholds about the results of another source."""
        return Decisions(self._rules, self._floors)

    @property
    def scene_label(self) -> str | None:
        """Label of the first task with a decision about the scene."""
        return next((label for label in self._labels(of_faces=False)), None)

    @property
    def face_labels(self) -> tuple[str, ...]:
        """Labels of the decisions about faces."""
        return tuple(self._labels(of_faces=True))

    @property
    def tracks(self) -> set[int]:
        """Tracks with a current or pending decision."""
        return {person for _, person in self._subjects if person is not None}

    def update(self, result: Result) -> list[Event]:
        """Update with a result, and return the events that follow from it."""
        self.now_s = result.pts_s
        seen = _labelled(result)
        for kind, person in seen:
            self._subjects.setdefault((kind, person), DecisionState(kind, person, self._rules))
        events = [event for key in self._subjects for event in self._update(key, seen.get(key))]
        self._forget(seen)
        return events

    def close(self, reason: str) -> list[Event]:
        """End all decisions, because the source was lost or the service stops."""
        events = [event for one in self._subjects.values() for event in one.close(self.now_s, reason)]
        self._subjects = {key: one for key, one in self._subjects.items() if one.person is None}
        self._raw.clear()
        return events

    def _labels(self, *, of_faces: bool) -> Iterator[str]:
        for subject in self._subjects.values():
            if subject.label is not None and (subject.person is not None) == of_faces:
                yield subject.label

    def _update(self, key: SubjectKey, reading: Reading | None) -> list[Event]:
        subject = self._subjects[key]
        label, score = (reading.label, reading.score or 0.0) if reading and reading.ready else (None, 0.0)
        floor = max(self._rules.min_score, self._floors.get(subject.kind, {}).get(label or "", 0.0))
        label = None if label in NO_DECISION or score < floor else label
        if self._raw.get(key) != label:
            self.raw_flips.add(self.now_s)
            self._raw[key] = label
        absent = "left" if reading is None and subject.person is not None else "changed"
        events = list(subject.update(label, score, self.now_s, absent))
        if events:  # an end and a start are one change of the label
            self.decided_flips.add(self.now_s)
        return events

    def _forget(self, seen: Container[SubjectKey]) -> None:
        """Forget faces that have left. The scene is kept, because its cooldown still applies."""
        for key, subject in list(self._subjects.items()):
            if subject.person is not None and key not in seen and subject.label is None:
                del self._subjects[key]
                self._raw.pop(key, None)


def _labelled(result: Result) -> dict[SubjectKey, Reading]:
    """All readings with a label, those of the scene first."""
    people = [(None, result.readings), *((face.track, face.readings) for face in result.faces)]
    return {
        (task, person): reading
        for person, readings in people
        for task, reading in readings.items()
        if reading.label is not None
    }
