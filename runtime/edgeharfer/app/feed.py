"""The feed of the live page: the newest picture and state, and the number of viewers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from edgeharfer.app import picture
from edgeharfer.app.scene import SceneSummary
from edgeharfer.app.sources import display_name
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.live_feed import LiveFeed, Snapshot, status_to_dict
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

Phase = Literal["off", "starting", "running", "ended", "failed"]
SourceKind = Literal["live", "video", "pictures"]

INTERVAL_S = 1 / 20
"""Shortest time between two encoded pictures."""
VIEWER_TIMEOUT_S = 4.0
"""A viewer without a request for this long no longer counts."""


class AppFeed(LiveFeed):
    """The feed of consecutive runs.

    Args:
        make_scene: Creates the summary of a new run.
        clock: The clock.
        max_viewers: Most viewers at a time.
    """

    _phase: Phase
    _run: Mapping[str, Any]
    _details: Mapping[str, Any]
    _scene: SceneSummary

    def __init__(self, make_scene: Callable[[], SceneSummary], clock: Clock, max_viewers: int = 32) -> None:
        super().__init__(clock, INTERVAL_S)
        self._make_scene, self._max_viewers = make_scene, max_viewers
        self._viewers: dict[str, float] = {}
        self.watched_s = clock.monotonic()
        self._begin("")

    @property
    def viewers(self) -> int:
        """Number of current viewers."""
        now_s = self._clock.monotonic()
        self._viewers = {
            name: at_s for name, at_s in self._viewers.items() if now_s - at_s < VIEWER_TIMEOUT_S
        }
        return len(self._viewers)

    async def view(self, viewer: str, after: int) -> Snapshot:
        """Wait for a picture newer than `after`; after a timeout return the newest one again.

        Args:
            viewer: Id that the viewer chose.
            after: Number of the picture that the viewer has.

        Raises:
            HttpError: Too many viewers.
        """
        if self.viewers >= self._max_viewers and viewer not in self._viewers:
            raise HttpError(503, f"{self._max_viewers} viewers are already connected; try again later")
        self._viewers[viewer] = self.watched_s = self._clock.monotonic()
        await self.wait(after)
        self._viewers[viewer] = self._clock.monotonic()
        return await self.snapshot()

    def begin(self, source: str = "") -> None:
        """Reset for a new run.

        Args:
            source: Name of its source, as clients may see it; "" when nothing is running.
        """
        with self._lock:
            self._begin(source)
        self.notify()

    def set_source(self, source: Source, models: Mapping[str, str], providers: Mapping[str, str]) -> None:
        """Publish the opened source and the loaded models, before the first picture."""
        kind: SourceKind = "live" if source.live else "pictures" if source.photographs else "video"
        with self._lock:
            self._run = {
                "source": display_name(source.name),
                "kind": kind,
                "models": dict(models),
                "providers": dict(providers),
            }
        self.notify()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        details = self._scene.update(result)
        with self._lock:
            self._phase, self._details = "running", details
        super().write(frame, result, status)

    def end(self, error: str = "") -> None:
        """Mark the run as ended, or as failed with this error message."""
        with self._lock:
            self._phase, self._error = "failed" if error else "ended", error
        self.notify()

    def describe(self) -> Mapping[str, Any]:
        status = self._status
        return {
            "run": self._phase,
            "error": self._error,
            "number": self.number,
            "idle_s": self._idle_s(),
            "viewers": len(self._viewers),
            "status": {**status_to_dict(status), "source_name": display_name(status.source_name)}
            if status
            else None,
            **self._run,
            **self._details,
            "printed": self.encoded,
        }

    def encode(self, frame: Frame, result: Result, status: Status) -> bytes:
        return picture.encode(frame, result)

    def _begin(self, source: str) -> None:
        self._phase = "starting" if source else "off"
        self._error = ""
        self._run = {"source": source, "kind": None, "models": {}, "providers": {}}
        self._details = {"people": [], "action": None, "history": [], "likely": []}
        self._scene = self._make_scene()
        self._latest = self._status = None
        self._written_s = self._clock.monotonic()
