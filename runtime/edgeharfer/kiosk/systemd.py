"""Messages to systemd: sd_notify(3) and watchdog pings."""

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
"""States of the source in which connection attempts, each with a timeout, count as progress."""
MAX_STATE_S = 20.0
"""A supervised state that lasts longer than this indicates a hang."""


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Send lines such as "READY=1", "WATCHDOG=1" or "STATUS=…" to NOTIFY_SOCKET.

    A leading "@" of the address means an abstract socket. While systemd restarts, messages can be lost, as
    with sd_notify itself.

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
    """The watchdog interval in seconds; None if systemd expects no pings."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6


class WatchdogPinger(Sink):
    """Pings the watchdog on results, so that systemd restarts the service when any stage hangs.

    It must be the last sink, so that a hanging sink also stops the pings. While there is no camera,
    connection attempts count instead of results. It uses no timer and no thread.

    Args:
        send: Sends "WATCHDOG=1".
        interval_s: The watchdog interval; None sends no pings.
        clock: The clock.
    """

    def __init__(self, send: Callable[[str], object], interval_s: float | None, clock: Clock) -> None:
        self._send, self._clock = send, clock
        self._pause_s = None if interval_s is None else interval_s / PINGS_PER_INTERVAL
        self._last_s: float | None = None
        self._state, self._state_s = "", clock.monotonic()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.ping()

    def refresh(self, status: Status) -> None:
        self.observe_state(status.source_state)

    def observe_state(self, state: str) -> None:
        """Ping without a frame, if the source is in a supervised state that has not lasted too long."""
        now_s = self._clock.monotonic()
        if state != self._state:
            self._state, self._state_s = state, now_s
        if state in SUPERVISED and now_s - self._state_s <= MAX_STATE_S:
            self.ping()

    def ping(self) -> None:
        """Report progress; a ping is sent `PINGS_PER_INTERVAL` times per interval."""
        now_s = self._clock.monotonic()
        if self._pause_s is None or (self._last_s is not None and now_s - self._last_s < self._pause_s):
            return
        self._last_s = now_s
        self._send("WATCHDOG=1")
