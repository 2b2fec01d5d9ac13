"""Decisions in place of noise: a label that stands becomes one start and one end.

All times are the source's, in seconds; the scores are those of the label, 0 to 1.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from edgeharfer.kiosk.config import Decide
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN, Result

Kind = Literal["action", "emotion"]
Phase = Literal["start", "end"]
NOTHING = frozenset({UNCERTAIN, BACKGROUND})
"""Labels that are no decision."""
FLIP_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """A change: a decision started, or ended.

    id: of this message, for who must not count it twice. decision: the same in start and end.
    person: the track's number, None for an action. delay_s: from the first sight of it to this message.
    reason: why it ended, "changed", "left", "lost" or "stopped"; empty at the start. A process that is killed
    ends nothing: the next one does, with "process ended" (`end_open_decisions`).
    """

    id: str
    decision: str
    kind: Kind
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
        return None if self.end_s is None else self.end_s - self.start_s


@dataclass(slots=True)
class _Run:
    """A label and how long it has been seen without a break."""

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


class Subject:
    """What is decided of one thing: of the scene, or of one face.

    A label becomes a decision when it stood for `min_duration_s`, and ends when something else, or nothing,
    stood as long. The same label stays quiet for `cooldown_s` after its end.
    """

    def __init__(self, kind: Kind, person: int | None, rules: Decide) -> None:
        self.kind, self.person, self._rules = kind, person, rules
        self._standing: _Run | None = None
        self._next: _Run | None = None
        self._ended_s: dict[str, float] = {}

    @property
    def label(self) -> str | None:
        """What is decided now."""
        return self._standing.label if self._standing else None

    def update(
        self, label: str | None, score: float, now_s: float, absent: str = "changed"
    ) -> Iterator[Event]:
        """Take in what is seen now, None for nothing. absent: why a decision ends that nothing follows."""
        standing = self._standing
        if standing is not None and standing.label == label:
            standing.add(score, now_s)
            self._next = None
            return
        if self._next is None or self._next.label != (label or ""):
            self._next = _Run(label or "", now_s, now_s)
        self._next.add(score, now_s)
        if now_s - self._next.since_s < self._rules.min_duration_s:
            return
        if standing is not None:
            yield self._end(standing, self._next.since_s, now_s, "changed" if label else absent)
        if label is not None and self._may_start(label, now_s):
            yield self._start(self._next, now_s)

    def close(self, now_s: float, reason: str) -> Iterator[Event]:
        """End what stands, at the last time it was seen."""
        if self._standing is not None:
            yield self._end(self._standing, self._standing.last_s, now_s, reason)
        self._next = None

    def _may_start(self, label: str, now_s: float) -> bool:
        ended_s = self._ended_s.get(label)
        return ended_s is None or now_s - ended_s >= self._rules.cooldown_s

    def _start(self, run: _Run, now_s: float) -> Event:
        self._standing, self._next = run, None
        run.decision = uuid.uuid4().hex
        return self._event(run, "start", None, now_s - run.since_s)

    def _end(self, run: _Run, end_s: float, now_s: float, reason: str) -> Event:
        self._standing = None
        self._ended_s[run.label] = end_s
        return self._event(run, "end", end_s, now_s - end_s, reason)

    def _event(self, run: _Run, phase: Phase, end_s: float | None, delay_s: float, reason: str = "") -> Event:
        return Event(
            f"{run.decision}-{phase}", run.decision, self.kind, phase, run.label, self.person,
            run.since_s, end_s, run.mean, delay_s, reason,
        )  # fmt: skip


class Flips:
    """Changes of a label within the last minute."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now_s: float) -> None:
        self._times.append(now_s)

    def per_minute(self, now_s: float) -> int:
        while self._times and now_s - self._times[0] > FLIP_WINDOW_S:
            self._times.popleft()
        return len(self._times)


class Decisions:
    """The decisions on a stream of results: the scene's action and the emotion of each face.

    raw, decided: flips of what the models say and of what is told, for comparison.
    floors: kind -> label -> least score, where a site's calibration asks for more than `rules.min_score`.
    """

    def __init__(self, rules: Decide, floors: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self._rules, self._floors = rules, floors or {}
        self._scene = Subject("action", None, rules)
        self._faces: dict[int, Subject] = {}
        self._raw: dict[int | None, str | None] = {}
        self.raw, self.decided = Flips(), Flips()
        self.now_s = 0.0

    @property
    def action(self) -> str | None:
        """The decided action."""
        return self._scene.label

    @property
    def emotions(self) -> dict[int, str]:
        """Track -> decided emotion."""
        return {track: face.label for track, face in self._faces.items() if face.label is not None}

    @property
    def known(self) -> set[int]:
        """Tracks of which something is decided or about to be."""
        return set(self._faces)

    def take(self, result: Result) -> list[Event]:
        """The events that follow from one result."""
        self.now_s = result.pts_s
        events = self._update(self._scene, *self._action(result))
        seen = {face.track: face.emotion for face in result.faces if face.emotion is not None}
        for track in seen.keys() - self._faces.keys():
            self._faces[track] = Subject("emotion", track, self._rules)
        for track, subject in self._faces.items():
            emotion = seen.get(track)
            label, score = (emotion.label, emotion.score) if emotion else (None, 0.0)
            events += self._update(subject, label, score, absent="changed" if emotion else "left")
        self._forget(seen.keys())
        return events

    def close(self, reason: str) -> list[Event]:
        """End everything, for a source that is gone or a service that stops."""
        subjects = [self._scene, *self._faces.values()]
        self._faces.clear()
        self._raw.clear()
        return [event for subject in subjects for event in subject.close(self.now_s, reason)]

    def _action(self, result: Result) -> tuple[str | None, float]:
        action = result.action
        return (action.label, action.score) if action is not None and action.ready else (None, 0.0)

    def _update(
        self, subject: Subject, label: str | None, score: float, absent: str = "changed"
    ) -> list[Event]:
        floor = max(self._rules.min_score, self._floors.get(subject.kind, {}).get(label or "", 0.0))
        told = None if label in NOTHING or score < floor else label
        if self._raw.get(subject.person) != told:
            self.raw.add(self.now_s)
            self._raw[subject.person] = told
        events = list(subject.update(told, score, self.now_s, absent))
        if events:  # an end and a start are one change of the label
            self.decided.add(self.now_s)
        return events

    def _forget(self, seen: Collection[int]) -> None:
        gone = [track for track, face in self._faces.items() if track not in seen and face.label is None]
        for track in gone:
            del self._faces[track]
            self._raw.pop(track, None)
