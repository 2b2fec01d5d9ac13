"""What the service shows to browsers and probes: put up by its loop, looked at by the server's threads."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2

from edgeharfer.kiosk.config import KioskConfig
from edgeharfer.kiosk.privacy import blur_faces
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.types import Frame, Image, Result

PICTURE_WIDTH = 480
HANG_S = 10.0
"""A loop that has not come round for so long is no longer healthy."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a visitor is told. notice: the text to confirm, empty once it was."""

    state: str = "starting"
    people: int = 0
    action: str = ""
    emotions: tuple[str, ...] = ()
    notice: str = ""


class Desk:
    """Holds the newest scene and picture, health, and a visitor's confirmation."""

    def __init__(self, config: KioskConfig, clock: Clock) -> None:
        self._screen, self._blur, self._clock = config.screen, config.privacy.blur_faces, clock
        self._lock = threading.Lock()
        self._view: tuple[Frame, Result] | None = None
        self._scene, self._lack = Scene(), "starting"
        self._details: Mapping[str, Any] = {}
        self._confirmed = False
        self._turned_s = clock.monotonic()

    def turn(self, lack: str, details: Mapping[str, Any]) -> None:
        """The loop came round. lack: what is missing to be ready, empty when nothing is."""
        with self._lock:
            self._turned_s, self._lack, self._details = self._clock.monotonic(), lack, details

    def show(self, scene: Scene, view: tuple[Frame, Result] | None = None) -> None:
        """Put up what is told; without a view the last picture is taken down."""
        with self._lock:
            self._scene, self._view = scene, view

    def confirm(self) -> None:
        """A visitor touched the notice."""
        with self._lock:
            self._confirmed = True

    def take_confirmation(self) -> bool:
        """Whether a visitor has confirmed since the last call."""
        with self._lock:
            confirmed, self._confirmed = self._confirmed, False
            return confirmed

    @property
    def healthy(self) -> bool:
        """The loop comes round."""
        with self._lock:
            return self._clock.monotonic() - self._turned_s < HANG_S

    @property
    def ready(self) -> bool:
        """Results come."""
        with self._lock:
            fresh = self._clock.monotonic() - self._turned_s < HANG_S
            return fresh and not self._lack

    def health(self) -> dict[str, Any]:
        """What /healthz and /readyz tell."""
        with self._lock:
            lack, details = self._lack, dict(self._details)
            return {"lack": lack, "idle_s": round(self._clock.monotonic() - self._turned_s, 1), **details}

    def state(self) -> dict[str, Any]:
        """What the page shows."""
        with self._lock:
            return {
                "title": self._screen.title,
                "message": self._screen.message,
                "turn": self._screen.turn,
                "blurred": self._blur,
                "camera": self._screen.show_camera and self._view is not None,
                **asdict(self._scene),
            }

    def picture(self) -> bytes:
        """The newest picture as JPEG, faces made unknowable; empty where none is to be shown."""
        image = self.image()
        return b"" if image is None else cv2.imencode(".jpg", image)[1].tobytes()

    def image(self) -> Image | None:
        """The newest picture, BGR, faces made unknowable; None where none is to be shown."""
        with self._lock:
            view = self._view if self._screen.show_camera else None
        return None if view is None else shown_picture(*view, blur=self._blur)


def shown_picture(frame: Frame, result: Result, *, blur: bool) -> Image:
    """A small mirrored picture: people expect to see themselves as in a mirror."""
    image = blur_faces(frame.bgr, result.faces) if blur else frame.bgr
    height, width = image.shape[:2]
    size = PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width))
    mirrored: Image = cv2.flip(cv2.resize(image, size, interpolation=cv2.INTER_AREA), 1)  # type: ignore[assignment]
    return mirrored
