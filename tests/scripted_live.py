"""A live source whose frames, silences, losses and returns follow a script, on a clock that a test holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.types import Frame

STEP_S = 0.1

Step = str | Exception


class ScriptedLive(Source):
    """Each step takes a tenth of a second.

    "frame": a new picture. "same": the last one again. "none": nothing. "lost": gone, as a device is.
    "away": the next attempt to reconnect fails. "end": over. An exception is raised.
    """

    live = restartable = True

    def __init__(self, script: Sequence[Step], clock: ManualClock) -> None:
        self.name, self.size = "script", (4, 4)
        self.script = list(script)
        self.clock = clock
        self.attempts_s: list[float] = []
        self.closed = 0
        self._seq = self._level = 0

    def read(self) -> Frame | None:
        return self.read_within(STEP_S)

    def read_within(self, timeout_s: float) -> Frame | None:
        self.clock.sleep(min(STEP_S, timeout_s))
        step = self.script.pop(0) if self.script else "none"
        if isinstance(step, Exception):
            raise step
        if step == "lost":
            raise SourceError("script: the cable is out")
        self.ended |= step == "end"
        self._level += step == "frame"
        return self._frame() if step in ("frame", "same") else None

    def _frame(self) -> Frame:
        self._seq += 1
        picture = np.full((4, 4, 3), self._level % 256, np.uint8)
        return Frame(self._seq - 1, 0.0, self.clock.monotonic(), picture)

    def reconnect(self) -> None:
        self.attempts_s.append(self.clock.monotonic())
        self._seq = 0
        if self.script and self.script[0] == "away":
            self.script.pop(0)
            raise SourceError("script: there is no such device")

    def close(self) -> None:
        self.closed += 1
