"""What the live page shows, and who is watching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from edgeharfer.app import picture
from edgeharfer.app.scene import SceneSummary
from edgeharfer.app.sources import shown
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.live_feed import LiveFeed, Snapshot, status_to_dict
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

Phase = Literal["off", "starting", "running", "ended", "failed"]

INTERVAL_S = 1 / 20
"""Between two pictures: more would cost more than it shows."""
GONE_S = 4.0
"""A viewer that has not asked for so long has left."""


class AppFeed(LiveFeed):
    """The feed of one run after another. make_scene: a new one for each. most: viewers at a time."""

    _phase: Phase
    _run: Mapping[str, Any]
    _details: Mapping[str, Any]
    _scene: SceneSummary

    def __init__(self, make_scene: Callable[[], SceneSummary], clock: Clock, most: int = 32) -> None:
        super().__init__(clock, INTERVAL_S)
        self._make_scene, self._most = make_scene, most
        self._viewers: dict[str, float] = {}
        self.watched_s = clock.monotonic()
        self._begin("")

    @property
    def viewers(self) -> int:
        """How many are watching."""
        now_s = self._clock.monotonic()
        self._viewers = {name: at_s for name, at_s in self._viewers.items() if now_s - at_s < GONE_S}
        return len(self._viewers)

    async def view(self, viewer: str, after: int) -> Snapshot:
        """What is newer than `after`, or the same again after a while. Raises HttpError for one too many."""
        if self.viewers >= self._most and viewer not in self._viewers:
            raise HttpError(503, f"{self._most} viewers are connected already; try again later")
        self._viewers[viewer] = self.watched_s = self._clock.monotonic()
        await self.wait(after)
        self._viewers[viewer] = self._clock.monotonic()
        return await self.snapshot()

    def begin(self, source: str = "") -> None:
        """Forget the run before, which has ended. source: of the next one; "" where there is none."""
        with self._lock:
            self._begin(source)
        self.notify()

    def opened(self, source: str, models: Mapping[str, str], providers: Mapping[str, str]) -> None:
        """The source and the models are there, and the first picture is near."""
        with self._lock:
            self._run = {"source": shown(source), "models": dict(models), "providers": dict(providers)}
        self.notify()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        details = self._scene.update(result)
        with self._lock:
            self._phase, self._details = "running", details
        super().write(frame, result, status)

    def end(self, error: str = "") -> None:
        """Nothing further will come; `error` says why where the run failed."""
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
            "status": {**status_to_dict(status), "source_name": shown(status.source_name)}
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
        self._run = {"source": source, "models": {}, "providers": {}}
        self._details = {"people": [], "action": None, "history": [], "likely": []}
        self._scene = self._make_scene()
        self._latest = self._status = None
        self._written_s = self._clock.monotonic()
