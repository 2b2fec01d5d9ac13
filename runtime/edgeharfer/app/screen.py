"""What the live page shows: put up by the run, encoded once, looked at by any number of viewers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgeharfer.app.picture import encode
from edgeharfer.app.scene import Scene
from edgeharfer.app.sources import shown
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.json_lines import compact_json
from edgeharfer.runtime.sinks import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Result

Phase = Literal["off", "starting", "running", "ended", "failed"]


@dataclass(frozen=True)
class View:
    """One picture and all that is known with it. state: JSON. jpeg: empty before the first picture."""

    number: int
    state: bytes
    jpeg: bytes


class Screen(Sink):
    """A sink of the run. The run only leaves references here; whoever looks pays for the encoding, once.

    printed: how many pictures were encoded.
    changed: called, from any thread, when there is something new. first: what the numbers begin with.
    """

    def __init__(
        self, scene: Scene, clock: Clock, changed: Callable[[], None], source: str = "", first: int = 0
    ) -> None:
        self.phase: Phase = "starting" if source else "off"
        self.printed = 0
        self._scene, self._clock, self._changed = scene, clock, changed
        self._lock = threading.Lock()
        self._number = first
        self._jpeg: tuple[int, bytes] = (-1, b"")
        self._error = ""
        self._facts: Mapping[str, Any] = {"source": source, "models": {}, "providers": {}}
        self._told: Mapping[str, Any] = {"people": [], "action": None, "history": [], "likely": []}
        self._shown: tuple[Frame, Result] | None = None
        self._status: Status | None = None
        self._shown_s = clock.monotonic()

    @property
    def number(self) -> int:
        """Of what is up; grows with everything new."""
        return self._number

    def opened(self, source: str, models: Mapping[str, str], providers: Mapping[str, str]) -> None:
        """The source and the models are there, and the first picture is near."""
        with self._lock:
            self._facts = {"source": shown(source), "models": dict(models), "providers": dict(providers)}
        self._renew()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        told = self._scene.update(result)
        with self._lock:
            self.phase = "running"
            self._shown, self._status, self._told = (frame, result), status, told
            self._shown_s = self._clock.monotonic()
        self._renew()

    def refresh(self, status: Status) -> None:
        """While no results come: what became of the source."""
        with self._lock:
            self._status = status

    def finish(self, summary: dict[str, Any]) -> None:
        """The run is over; how, its caller says."""

    def end(self, error: str = "") -> None:
        """Nothing further will come; `error` says why, where that was not wanted."""
        with self._lock:
            self.phase = "failed" if error else "ended"
            self._error = error
        self._renew()

    def print(self, viewers: int) -> View:
        """What is up now, encoded; one caller at a time."""
        with self._lock:
            number, shown = self._number, self._shown
            state = {
                "run": self.phase,
                "error": self._error,
                "number": number,
                "idle_s": round(self._clock.monotonic() - self._shown_s, 1),
                "viewers": viewers,
                "status": None if self._status is None else _figures(self._status),
                **self._facts,
                **self._told,
            }
        if shown and self._jpeg[0] != number:
            self._jpeg = number, encode(*shown)
            self.printed += 1
        state["printed"] = self.printed
        text = compact_json(state)
        return View(number, text.encode("ascii"), self._jpeg[1])

    def _renew(self) -> None:
        with self._lock:
            self._number += 1
        self._changed()


def _figures(status: Status) -> dict[str, Any]:
    figures = {**asdict(status), "source_name": shown(status.source_name)}
    return {name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()}
