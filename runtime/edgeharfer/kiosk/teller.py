"""From results to what leaves the machine: decisions become events under ephemeral names."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from edgeharfer.kiosk.decisions import Decisions, Event
from edgeharfer.kiosk.metrics import Metrics
from edgeharfer.kiosk.outbox import Outbox
from edgeharfer.kiosk.privacy import EphemeralIds
from edgeharfer.kiosk.topics import Topics, event_payload, left_open_payload, to_json
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.types import Result

_log = logging.getLogger(__name__)


class Teller:
    """Takes every result; without an outbox, events are only counted.

    An event that the disk refuses is lost and counted: inference goes on.
    """

    def __init__(
        self, decisions: Decisions, outbox: Outbox | None, topics: Topics, metrics: Metrics, clock: Clock
    ) -> None:
        self.decisions = decisions
        self._outbox, self._topics, self._metrics, self._clock = outbox, topics, metrics, clock
        self._names = EphemeralIds()
        self._failing = False

    def take(self, result: Result) -> None:
        """Decide on a result, and tell what changed."""
        self._tell(self.decisions.take(result))
        self._names.keep(self.decisions.known)
        self._metrics.show_flips(self.decisions)

    def close(self, reason: str) -> None:
        """End what stands."""
        self._tell(self.decisions.close(reason))
        self._names.keep(())

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._metrics.count_event(event)
            if self._outbox is not None:
                self._put(self._outbox, event)

    def _put(self, outbox: Outbox, event: Event) -> None:
        person = None if event.person is None else self._names.name(event.person)
        payload = event_payload(event, person, self.decisions.now_s, self._clock.wall())
        try:
            outbox.put(
                event.id,
                self._topics.event(event.kind),
                to_json(payload),
                starts=event.decision if event.phase == "start" else "",
                ends=event.decision if event.phase == "end" else "",
            )
            self._failing = False
        except SinkError as error:
            self._metrics.errors.labels("outbox").inc()
            if not self._failing:
                _log.warning("%s; events are lost until it works again", error)
            self._failing = True


def end_left_open(outbox: Outbox) -> None:
    """End the decisions that the process before had started and, killed, did not end. Raises SinkError."""
    for letter in outbox.open_decisions():
        payload = left_open_payload(json.loads(letter.payload))
        outbox.put(payload["id"], letter.topic, to_json(payload), ends=payload["decision"])
