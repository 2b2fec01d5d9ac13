"""Turns results into events in the outbox, with random names for people."""

from __future__ import annotations

import json
import logging
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeharfer.kiosk.decisions import Decisions, Event
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.privacy import EphemeralIds
from edgeharfer.kiosk.topics import Topics, event_payload, interrupted_payload, to_json
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

RETRY_S = 1.0

_log = logging.getLogger(__name__)


@dataclass
class Subjects:
    """What is known about the people and the scene of one source.

    Attributes:
        source: Name of the source; "" if it is the only one.
        decisions: The decisions.
        ids: Random names of the people.
        breaks: Gaps of the source so far.
    """

    source: str
    decisions: Decisions
    ids: EphemeralIds = field(default_factory=EphemeralIds)
    breaks: int = 0


class EventPublisher(Sink):
    """Updates the decisions with each result and stores their events in the outbox.

    Without an outbox, events are only counted. If an event cannot be written, it is counted as lost and
    inference continues. If a start was lost, its end is dropped as well. If only the end cannot be written,
    it is kept in memory and retried.
    """

    def __init__(
        self, decisions: Decisions, outbox: Outbox | None, topics: Topics, metrics: Metrics, clock: Clock
    ) -> None:
        self.decisions = decisions
        self._subjects: dict[str, Subjects] = {}
        self._outbox, self._topics, self._metrics, self._clock = outbox, topics, metrics, clock
        self._failing = False
        self._lost: set[str] = set()
        self._late: deque[tuple[Event, bytes]] = deque()
        self._retried_s = clock.monotonic()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        """Update the decisions with a result, and store their events."""
        subjects = self.subjects(result.source)
        if status.breaks != subjects.breaks:
            subjects.breaks = status.breaks
            self._end(subjects, "lost")
        self._publish(subjects, subjects.decisions.update(result))
        subjects.ids.retain(subjects.decisions.tracks)
        self._metrics.show_flips([one.decisions for one in self._subjects.values()])

    def subjects(self, source: str) -> Subjects:
        """Return the decisions about a source, with the random names of its people."""
        if source not in self._subjects:
            decisions = self.decisions.for_another_source() if self._subjects else self.decisions
            self._subjects[source] = Subjects(source, decisions)
        return self._subjects[source]

    def end_all(self, reason: str) -> None:
        """End all decisions with this reason."""
        for subjects in self._subjects.values():
            self._end(subjects, reason)

    def _end(self, subjects: Subjects, reason: str) -> None:
        self._retried_s = -math.inf
        self._publish(subjects, subjects.decisions.close(reason))
        subjects.ids.retain(())

    def _publish(self, subjects: Subjects, events: Iterable[Event]) -> None:
        if self._outbox is not None:
            self._retry_late(self._outbox)
        for event in events:
            self._metrics.count_event(event)
            if self._outbox is not None:
                self._store(self._outbox, subjects, event)

    def _store(self, outbox: Outbox, subjects: Subjects, event: Event) -> None:
        if event.decision in self._lost:
            self._lost.discard(event.decision)
            self._metrics.errors.labels("outbox").inc()
            return
        person = None if event.person is None else subjects.ids.name(event.person)
        now_s = subjects.decisions.now_s
        payload = to_json(event_payload(event, person, now_s, self._clock.wall(), subjects.source))
        if self._put(outbox, event, payload):
            return
        self._metrics.errors.labels("outbox").inc()
        if event.phase == "start":
            self._lost.add(event.decision)
        else:
            self._late.append((event, payload))

    def _retry_late(self, outbox: Outbox) -> None:
        """Write the ends that could not be written before, in order; tried every `RETRY_S`."""
        now_s = self._clock.monotonic()
        if not self._late or now_s - self._retried_s < RETRY_S:
            return
        self._retried_s = now_s
        while self._late and self._put(outbox, *self._late[0]):
            self._late.popleft()

    def _put(self, outbox: Outbox, event: Event, payload: bytes) -> bool:
        """Store an event; whether it succeeded."""
        try:
            outbox.put(
                event.id,
                self._topics.event(event.kind),
                payload,
                starts=event.decision if event.phase == "start" else "",
                ends=event.decision if event.phase == "end" else "",
            )
            self._failing = False
        except SinkError as error:
            if not self._failing:
                _log.warning("%s; events are lost until the outbox can be written", error)
            self._failing = True
        return not self._failing


def end_open_decisions(outbox: Outbox) -> None:
    """End the decisions that a killed process left open.

    Raises:
        SinkError: The outbox cannot be read or written.
    """
    for message in outbox.open_decisions():
        payload = interrupted_payload(json.loads(message.payload))
        outbox.put(payload["id"], message.topic, to_json(payload), ends=payload["decision"])
