"""The sink for the page: decisions, picture and privacy notice."""

from __future__ import annotations

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.decisions import Decisions
from edgeharfer.kiosk.privacy import PrivacyNotice
from edgeharfer.kiosk.state import KioskState, ScreenContent
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame


class ScreenSink(Sink):
    """Shows each result. It must come after the sink that updates the decisions."""

    def __init__(
        self, config: KioskConfig, state: KioskState, decisions: Decisions, notice: PrivacyNotice
    ) -> None:
        self._text = config.privacy.notice if config.models.reads_faces else ""
        self._state, self._decisions, self._notice = state, decisions, notice

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._notice.observe(len(result.faces))
        if self._notice.declined:
            self._state.show(ScreenContent(status.source_state, declined=True))
            return
        content = ScreenContent(
            state=status.source_state,
            people=len(result.faces),
            action=self._decisions.scene_label or "",
            emotions=self._decisions.face_labels,
            notice="" if self._notice.given else self._text,
        )
        self._state.show(content, (frame, result))

    def refresh(self, status: Status) -> None:
        self._state.set_source_state(status.source_state)
