"""What the web view shows: put up by the run, looked at by any number of viewers, who never hold it up."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from typing import Any

import cv2

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.overlay import annotate
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Result

INTERVAL_S = 1 / 15  # between two pictures
HEARTBEAT_S = 1.0  # the same again while nothing is new; it also finds the viewers that have gone
LEAST_HEIGHT, MOST_ENLARGED, LONGEST_SIDE = 480, 4, 1280  # pixels, times, pixels


class Board:
    """What there is to see: one puts it up, many look at it, and a picture is encoded once for all."""

    def __init__(self, clock: Clock) -> None:
        self.ended = self.stopping = False
        self._clock = clock
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._number = 0
        self._view: tuple[Frame, Result, Status] | None = None
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._shown_s = self._due_s = clock.monotonic()

    def show(self, frame: Frame, result: Result, status: Status) -> None:
        with self._changed:
            self._number, self._view = self._number + 1, (frame, result, status)
            self._shown_s = self._clock.monotonic()
            self._changed.notify_all()

    def refresh(self, status: Status) -> None:
        """A new status on the picture that is up; its number stays, so that nobody takes it for a new one."""
        with self._changed:
            if self._view:
                self._view = *self._view[:2], status

    def stop(self) -> None:
        with self._changed:
            self.stopping = True
            self._changed.notify_all()

    def wait(self, number: int) -> None:
        """Until something newer than `number` is up, or it is time for a heartbeat."""
        with self._changed:
            self._changed.wait_for(lambda: self.stopping or self._number != number, HEARTBEAT_S)

    def pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.stopping, seconds)

    def state(self) -> tuple[int, bytes]:
        """The number of the newest picture, and what is known of it and of the run, as JSON."""
        with self._changed:
            number, view = self._number, self._view
            idle_s = self._clock.monotonic() - self._shown_s
        state = {
            "kind": "state",
            "run": "ended" if self.ended else "running" if view else "waiting",
            "number": number,
            "idle_s": round(idle_s, 1),
            "status": _rounded(asdict(view[2])) if view else None,
            "result": view[1].to_dict() if view else None,
        }
        return number, json.dumps(state, separators=(",", ":"), allow_nan=False).encode("ascii")

    def picture(self) -> tuple[int, bytes]:
        """The number of the newest picture and its JPEG; 0 and nothing before the first."""
        with self._encoding:
            if self._jpeg[0] != self._number:
                self.pause(self._due_s - self._clock.monotonic())
                self._due_s = self._clock.monotonic() + INTERVAL_S
                with self._changed:
                    number, view = self._number, self._view
                self._jpeg = number, _encode(*view) if view else b""
            return self._jpeg


def _encode(frame: Frame, result: Result, status: Status) -> bytes:
    """The annotated picture, of a size at which its text can be read and a tunnel carries it."""
    image = annotate(frame, result, status, min_height=min(LEAST_HEIGHT, MOST_ENLARGED * len(frame.bgr)))
    height, width = image.shape[:2]
    scale = LONGEST_SIDE / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA))[1].tobytes()
    return cv2.imencode(".jpg", image)[1].tobytes()


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()}
