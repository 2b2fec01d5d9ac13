"""What browsers and probes see: set by the run, read by the threads of the HTTP server."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.privacy import blur_faces
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.types import Frame, Image

PICTURE_WIDTH = 480
HANG_S = 10.0
"""Without an update for so long the service is not healthy."""


@dataclass(frozen=True, slots=True)
class ScreenContent:
    """What the page shows. notice: the text to confirm, empty when nothing has to be confirmed."""

    state: str = "starting"
    people: int = 0
    action: str = ""
    emotions: tuple[str, ...] = ()
    notice: str = ""


class KioskState:
    """The newest content and picture of the screen, the health, and a visitor's confirmation."""

    def __init__(self, config: KioskConfig, clock: Clock) -> None:
        self._screen, self._blur, self._clock = config.screen, config.privacy.blur_faces, clock
        self._lock = threading.Lock()
        self._view: tuple[Frame, Result] | None = None
        self._content, self._problem = ScreenContent(), "starting"
        self._details: Mapping[str, Any] = {}
        self._confirmed = False
        self._updated_s = clock.monotonic()

    def set_health(self, problem: str, details: Mapping[str, Any]) -> None:
        """Called regularly by the run. problem: why the service is not ready, empty when it is."""
        with self._lock:
            self._updated_s, self._problem, self._details = self._clock.monotonic(), problem, details

    def show(self, content: ScreenContent, view: tuple[Frame, Result] | None = None) -> None:
        """Set the content of the screen; without a view there is no picture."""
        with self._lock:
            self._content, self._view = content, view

    def set_source_state(self, state: str) -> None:
        """Show another state of the source, and leave the rest as it is."""
        with self._lock:
            self._content = replace(self._content, state=state)

    def confirm(self) -> None:
        """A visitor confirmed the notice."""
        with self._lock:
            self._confirmed = True

    def pop_confirmation(self) -> bool:
        """Whether a visitor has confirmed the notice since the last call."""
        with self._lock:
            confirmed, self._confirmed = self._confirmed, False
            return confirmed

    @property
    def healthy(self) -> bool:
        """The run goes on."""
        with self._lock:
            return self._clock.monotonic() - self._updated_s < HANG_S

    @property
    def ready(self) -> bool:
        """Results come."""
        with self._lock:
            return self._clock.monotonic() - self._updated_s < HANG_S and not self._problem

    def health(self) -> dict[str, Any]:
        """The body of /healthz and /readyz."""
        with self._lock:
            idle_s = round(self._clock.monotonic() - self._updated_s, 1)
            return {"lack": self._problem, "idle_s": idle_s, **self._details}

    def content(self) -> dict[str, Any]:
        """The body of /state.json, from which the page is drawn."""
        with self._lock:
            return {
                "title": self._screen.title,
                "message": self._screen.message,
                "turn": self._screen.turn,
                "blurred": self._blur,
                "camera": self._screen.show_camera and self._view is not None,
                **asdict(self._content),
            }

    def picture(self) -> bytes:
        """The newest picture as JPEG, faces blurred; empty where there is none to show."""
        with self._lock:
            view = self._view if self._screen.show_camera else None
        if view is None:
            return b""
        return cv2.imencode(".jpg", shown_picture(*view, blur=self._blur))[1].tobytes()


def shown_picture(frame: Frame, result: Result, *, blur: bool) -> Image:
    """A small picture, mirrored: people expect to see themselves as in a mirror."""
    image = blur_faces(frame.bgr, result.faces) if blur else frame.bgr
    height, width = image.shape[:2]
    size = PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width))
    mirrored: Image = cv2.flip(cv2.resize(image, size, interpolation=cv2.INTER_AREA), 1)  # type: ignore[assignment]
    return mirrored
