"""Messages to systemd: sd_notify(3), and the ping that its watchdog expects."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

PINGS_PER_INTERVAL = 4
SUPERVISED = frozenset({"connecting", "lost", "backoff"})
"""States in which the source is retried, with a time limit for each attempt."""
MAX_STATE_S = 20.0
"""None of these states lasts as long while the retries work."""


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send lines such as "READY=1", "WATCHDOG=1" or "STATUS=…" to NOTIFY_SOCKET.

    A leading "@" of the address stands for the zero byte of the abstract namespace. A manager that is
    about to restart may not listen; the message is then lost, as with sd_notify itself.

    Returns:
        Whether the message was sent; False without NOTIFY_SOCKET.
    """
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        link.settimeout(1.0)
        with contextlib.suppress(OSError):
            link.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
            return True
    return False


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Seconds within which systemd expects a ping, None where it expects none."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6


class WatchdogPinger(Sink):
    """Pings on results, so that systemd restarts the service when any stage hangs.

    Put it behind all other sinks: a sink that hangs then stops the ping as well. While there is no camera,
    the attempts to reach it count instead of results. There is no timer and no thread of its own.

    Args:
        send: Takes "WATCHDOG=1".
        interval_s: As systemd expects it; None sends no ping.
    """

    def __init__(self, send: Callable[[str], object], interval_s: float | None, clock: Clock) -> None:
        self._send, self._clock = send, clock
        self._pause_s = None if interval_s is None else interval_s / PINGS_PER_INTERVAL
        self._last_s: float | None = None
        self._state, self._state_s = "", clock.monotonic()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.ping()

    def refresh(self, status: Status) -> None:
        self.waiting(status.source_state)

    def waiting(self, state: str) -> None:
        """There is no frame, and the source is in this state: ping while it is retried."""
        now_s = self._clock.monotonic()
        if state != self._state:
            self._state, self._state_s = state, now_s
        if state in SUPERVISED and now_s - self._state_s <= MAX_STATE_S:
            self.ping()

    def ping(self) -> None:
        """Progress was made: a frame became a result, or an attempt ended. Sent as often as it is needed."""
        now_s = self._clock.monotonic()
        if self._pause_s is None or (self._last_s is not None and now_s - self._last_s < self._pause_s):
            return
        self._last_s = now_s
        self._send("WATCHDOG=1")
