"""The sink for the page: decisions, picture and privacy notice."""

from __future__ import annotations

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.event_publisher import EventPublisher
from edgeharfer.kiosk.privacy import PrivacyNotice
from edgeharfer.kiosk.state import KioskState, ScreenContent
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame


class ScreenSink(Sink):
    """Shows each result. It must come after the publisher, which updates the decisions.

    With several sources the page shows the people and labels of all, and the picture of the first live one.
    """

    def __init__(
        self, config: KioskConfig, state: KioskState, events: EventPublisher, notice: PrivacyNotice
    ) -> None:
        self._text = config.privacy.notice if config.models.reads_faces else ""
        self._state, self._events, self._notice = state, events, notice
        self._latest: dict[str, tuple[Frame, Result, Status]] = {}  # by source

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._latest[result.source] = frame, result, status
        people = sum(len(result.faces) for _, result, _ in self._latest.values())
        self._notice.observe(people)
        decided = [self._events.subjects(source).decisions for source in self._latest]
        live = [one for one in self._latest.values() if one[2].source_state == "live"]
        shown = live[0] if live else (frame, result, status)
        if self._notice.declined:
            self._state.show(ScreenContent(shown[2].source_state, declined=True))
            return
        content = ScreenContent(
            state=shown[2].source_state,
            people=people,
            action=next((one.scene_label for one in decided if one.scene_label), ""),
            emotions=tuple(label for one in decided for label in one.face_labels),
            notice="" if self._notice.given else self._text,
        )
        self._state.show(content, shown[:2])

    def refresh(self, status: Status) -> None:
        known = self._latest.get(status.source)
        if known is not None and status.source:
            self._latest[status.source] = (*known[:2], status)
        if not any(one[2].source_state == "live" for one in self._latest.values()) or not status.source:
            self._state.set_source_state(status.source_state)
