"""Clocks, which are injected so that tests can control time, and the detection of wall-clock jumps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

JUMP_S = 1.0
"""Smallest jump in seconds that is reported; adjustments by a time server count once they add up to it."""


class Clock(Protocol):
    """A source of time: monotonic for durations and freshness, wall time for labels only."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never go backwards."""

    def wall(self) -> float:
        """Return seconds since the Unix epoch, which may jump."""

    def sleep(self, seconds: float) -> None:
        """Sleep for a duration; return immediately if it is not positive."""


class SystemClock:
    """The clocks of the operating system."""

    # The functions themselves: they are called several times for each frame.
    monotonic = staticmethod(time.perf_counter)
    wall = staticmethod(time.time)

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


class ManualClock:
    """A clock that only `sleep` and its attributes advance, for tests and replays.

    Attributes:
        now_s: Monotonic time in seconds.
        offset_s: Wall time minus monotonic time, in seconds.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self.now_s = start_s
        self.offset_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def wall(self) -> float:
        return self.now_s + self.offset_s

    def sleep(self, seconds: float) -> None:
        self.now_s += max(0.0, seconds)


@dataclass(frozen=True, slots=True)
class ClockJump:
    """A jump of the wall clock.

    Attributes:
        was_s: Wall time expected from the monotonic clock, in seconds since the Unix epoch.
        is_s: Actual wall time, likewise.
    """

    was_s: float
    is_s: float

    def __str__(self) -> str:
        was, now = (_utc(wall_s) for wall_s in (self.was_s, self.is_s))
        return (
            f"the wall clock jumped by {self.is_s - self.was_s:+.1f} s, from {was} to {now}; "
            "order, durations and freshness are not affected"
        )


class ClockJumpDetector:
    """Detects when the wall clock was set by a user or a time server, or when the machine was suspended.

    Attributes:
        last: The most recent jump, None before the first.
    """

    def __init__(self, clock: Clock) -> None:
        self.last: ClockJump | None = None
        self._clock = clock
        self._offset_s = clock.wall() - clock.monotonic()

    def check(self) -> ClockJump | None:
        """Return the jump since the previous call and store it in `last`; None if there was none."""
        now_s, wall_s = self._clock.monotonic(), self._clock.wall()
        was_s = now_s + self._offset_s
        if abs(wall_s - was_s) < JUMP_S:
            return None
        self._offset_s = wall_s - now_s
        self.last = ClockJump(was_s, wall_s)
        return self.last


def _utc(wall_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall_s))
