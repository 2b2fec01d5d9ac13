"""One source of time, handed to whatever needs it, so that tests can hold it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

JUMP_S = 1.0
"""Less than this is a time server's fine adjustment, and is told once it has added up."""


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
        self.offset_s = 0.0  # of the wall clock

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s + self.offset_s

    def sleep(self, seconds: float) -> None:
        self.now_s += max(0.0, seconds)


@dataclass(frozen=True, slots=True)
class ClockJump:
    """Of the wall clock: what it would have said, and what it says, in seconds since the Unix epoch."""

    was_s: float
    is_s: float

    def __str__(self) -> str:
        was, now = (_in_words(wall_s) for wall_s in (self.was_s, self.is_s))
        return (
            f"the wall clock jumped by {self.is_s - self.was_s:+.1f} s: {was} became {now}; "
            "order, durations and freshness do not depend on it"
        )


class ClockJumpDetector:
    """Notices when the wall clock is set, by a person or a time server; or when the machine slept."""

    def __init__(self, clock: Clock) -> None:
        self.last: ClockJump | None = None
        self._clock = clock
        self._offset_s = clock.wall() - clock.monotonic()

    def check(self) -> ClockJump | None:
        """What the wall clock has jumped since the last look, None where it runs along; kept in `last`."""
        now_s, wall_s = self._clock.monotonic(), self._clock.wall()
        was_s = now_s + self._offset_s
        if abs(wall_s - was_s) < JUMP_S:
            return None
        self._offset_s = wall_s - now_s
        self.last = ClockJump(was_s, wall_s)
        return self.last


def _in_words(wall_s: float) -> str:
    """UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_s))
