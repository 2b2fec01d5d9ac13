"""State shared between the run, which sets it, and the HTTP server, which reads it."""

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
"""Without an update for this long the service is not healthy."""


@dataclass(frozen=True, slots=True)
class ScreenContent:
    """What the page shows.

    Attributes:
        state: State of the source.
        people: Number of faces in view.
        action: Label of the action; "" for none.
        emotions: Labels of the faces.
        notice: The notice to confirm; "" if none is needed.
        declined: Whether a visitor declined, so that nothing is analysed.
    """

    state: str = "starting"
    people: int = 0
    action: str = ""
    emotions: tuple[str, ...] = ()
    notice: str = ""
    declined: bool = False


class KioskState:
    """The newest screen content and picture, the health, and the answer to the notice. Thread-safe."""

    def __init__(self, config: KioskConfig, clock: Clock) -> None:
        self._screen, self._text = config.screen, config.text
        self._blur, self._clock = config.privacy.blur_faces, clock
        self._lock = threading.Lock()
        self._view: tuple[Frame, Result] | None = None
        self._content, self._problem = ScreenContent(), "starting"
        self._details: Mapping[str, Any] = {}
        self._answer: bool | None = None
        self._updated_s = clock.monotonic()

    def set_health(self, problem: str, details: Mapping[str, Any]) -> None:
        """Set the health; the run calls it regularly.

        Args:
            problem: Why the service is not ready; "" if it is.
            details: Further entries of /healthz and /readyz.
        """
        with self._lock:
            self._updated_s, self._problem, self._details = self._clock.monotonic(), problem, details

    def show(self, content: ScreenContent, view: tuple[Frame, Result] | None = None) -> None:
        """Set the screen content, and the frame and result of the picture; None for no picture."""
        with self._lock:
            self._content, self._view = content, view

    def set_source_state(self, state: str) -> None:
        """Change the state of the source in the screen content."""
        with self._lock:
            self._content = replace(self._content, state=state)

    def confirm(self) -> None:
        """Record that a visitor confirmed the notice."""
        with self._lock:
            self._answer = True

    def decline(self) -> None:
        """Record that a visitor declined."""
        with self._lock:
            self._answer = False

    def pop_answer(self) -> bool | None:
        """Whether a visitor confirmed (True) or declined (False) since the last call; None for neither."""
        with self._lock:
            answer, self._answer = self._answer, None
            return answer

    @property
    def healthy(self) -> bool:
        """Whether the run was updated recently."""
        with self._lock:
            return self._clock.monotonic() - self._updated_s < HANG_S

    @property
    def ready(self) -> bool:
        """Whether the service produces results."""
        with self._lock:
            return self._clock.monotonic() - self._updated_s < HANG_S and not self._problem

    def health(self) -> dict[str, Any]:
        """The body of /healthz and /readyz."""
        with self._lock:
            idle_s = round(self._clock.monotonic() - self._updated_s, 1)
            return {"lack": self._problem, "idle_s": idle_s, **self._details}

    def content(self) -> dict[str, Any]:
        """The body of /state.json, for the page."""
        with self._lock:
            return {
                "title": self._screen.title,
                "message": self._screen.message,
                "turn": self._screen.turn,
                "blurred": self._blur,
                "text": asdict(self._text),
                "camera": self._screen.show_camera and self._view is not None,
                **asdict(self._content),
            }

    def picture(self) -> bytes:
        """The newest picture as JPEG, with blurred faces if configured; empty if there is none."""
        with self._lock:
            view = self._view if self._screen.show_camera else None
        if view is None:
            return b""
        return cv2.imencode(".jpg", shown_picture(*view, blur=self._blur))[1].tobytes()


def shown_picture(frame: Frame, result: Result, *, blur: bool) -> Image:
    """The picture for the page: scaled down, and mirrored because people expect a mirror image."""
    image = blur_faces(frame.bgr, result.faces) if blur else frame.bgr
    height, width = image.shape[:2]
    size = PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width))
    mirrored: Image = cv2.flip(cv2.resize(image, size, interpolation=cv2.INTER_AREA), 1)  # type: ignore[assignment]
    return mirrored
