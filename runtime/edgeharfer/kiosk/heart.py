"""The watchdog's ping: it follows the frames, so that a stage that hangs is restarted and not hidden."""

from __future__ import annotations

from collections.abc import Callable

from edgeharfer.runtime.clock import Clock

PINGS_PER_INTERVAL = 4
SUPERVISED = frozenset({"connecting", "lost", "backoff"})
"""States in which the capture's own supervisor tries again and again, each attempt bounded in time."""
LONGEST_STATE_S = 20.0
"""None of them lasts so long where that supervisor is alive."""


class Heart:
    """Pings while results come; while no camera is there, the attempts to reach one count instead.

    send: takes "WATCHDOG=1". interval_s: systemd's; None never pings. There is no timer and no thread:
    who calls none of the three does not ping.
    """

    def __init__(self, send: Callable[[str], object], interval_s: float | None, clock: Clock) -> None:
        self._send, self._clock = send, clock
        self._pause_s = None if interval_s is None else interval_s / PINGS_PER_INTERVAL
        self._last_s: float | None = None
        self._state, self._state_s = "", clock.monotonic()

    def progress(self) -> None:
        """A frame went all the way to its result."""
        self._beat()

    def attempt(self) -> None:
        """No camera: one attempt to reach it came to its end, whatever the outcome."""
        self._beat()

    def waiting(self, state: str) -> None:
        """No frame, and the source is in this state: fine while supervised states follow each other."""
        now_s = self._clock.monotonic()
        if state != self._state:
            self._state, self._state_s = state, now_s
        if state in SUPERVISED and now_s - self._state_s <= LONGEST_STATE_S:
            self._beat()

    def _beat(self) -> None:
        now_s = self._clock.monotonic()
        if self._pause_s is None or (self._last_s is not None and now_s - self._last_s < self._pause_s):
            return
        self._last_s = now_s
        self._send("WATCHDOG=1")
