"""From results to what leaves the machine: decisions become events under ephemeral names."""

from __future__ import annotations

import json
import logging
import math
from collections import deque
from collections.abc import Iterable

from edgeharfer.kiosk.decisions import Decisions, Event
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.privacy import EphemeralIds
from edgeharfer.kiosk.topics import Topics, event_payload, left_open_payload, to_json
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.types import Result

RETRY_S = 1.0

_log = logging.getLogger(__name__)


class Teller:
    """Takes every result; without an outbox, events are only counted.

    An event that the disk refuses is counted, and inference goes on. A start is lost, and its end with it;
    the end of a decision whose start was kept waits in memory until it can be kept as well.
    """

    def __init__(
        self, decisions: Decisions, outbox: Outbox | None, topics: Topics, metrics: Metrics, clock: Clock
    ) -> None:
        self.decisions = decisions
        self._outbox, self._topics, self._metrics, self._clock = outbox, topics, metrics, clock
        self._names = EphemeralIds()
        self._failing = False
        self._lost: set[str] = set()
        self._late: deque[tuple[Event, bytes]] = deque()
        self._retried_s = clock.monotonic()

    def take(self, result: Result) -> None:
        """Decide on a result, and tell what changed."""
        self._tell(self.decisions.take(result))
        self._names.keep(self.decisions.known)
        self._metrics.show_flips(self.decisions)

    def close(self, reason: str) -> None:
        """End what stands."""
        self._retried_s = -math.inf
        self._tell(self.decisions.close(reason))
        self._names.keep(())

    def _tell(self, events: Iterable[Event]) -> None:
        if self._outbox is not None:
            self._put_late(self._outbox)
        for event in events:
            self._metrics.count_event(event)
            if self._outbox is not None:
                self._keep(self._outbox, event)

    def _keep(self, outbox: Outbox, event: Event) -> None:
        if event.decision in self._lost:
            self._lost.discard(event.decision)
            self._metrics.errors.labels("outbox").inc()
            return
        person = None if event.person is None else self._names.name(event.person)
        payload = to_json(event_payload(event, person, self.decisions.now_s, self._clock.wall()))
        if self._put(outbox, event, payload):
            return
        self._metrics.errors.labels("outbox").inc()
        if event.phase == "start":
            self._lost.add(event.decision)
        else:
            self._late.append((event, payload))

    def _put_late(self, outbox: Outbox) -> None:
        """Try the ends that were refused before, once a second, so that they stay in order."""
        now_s = self._clock.monotonic()
        if not self._late or now_s - self._retried_s < RETRY_S:
            return
        self._retried_s = now_s
        while self._late and self._put(outbox, *self._late[0]):
            self._late.popleft()

    def _put(self, outbox: Outbox, event: Event, payload: bytes) -> bool:
        """Whether the event is kept now."""
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
                _log.warning("%s; events are lost until it works again", error)
            self._failing = True
        return not self._failing


def end_left_open(outbox: Outbox) -> None:
    """End the decisions that the process before had started and, killed, did not end. Raises SinkError."""
    for letter in outbox.open_decisions():
        payload = left_open_payload(json.loads(letter.payload))
        outbox.put(payload["id"], letter.topic, to_json(payload), ends=payload["decision"])
