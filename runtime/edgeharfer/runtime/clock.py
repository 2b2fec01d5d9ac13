"""One source of time, handed to whatever needs it, so that tests can hold it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Monotonic time for durations and freshness, wall time for labels only."""

    def monotonic(self) -> float:
        """Seconds that never run backwards."""

    def wall(self) -> float:
        """Seconds since the Unix epoch; may jump."""

    def sleep(self, seconds: float) -> None:
        """Wait; zero and less return at once."""


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        return time.perf_counter()

    def wall(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to, for tests and replays."""

    def __init__(self, start_s: float = 0.0) -> None:
        self.now_s = start_s

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += max(0.0, seconds)
