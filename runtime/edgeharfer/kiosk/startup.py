"""Start of the service: lock on the state folder, count of starts, and retries of transient faults."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from edgeharfer.kiosk.systemd import WatchdogPinger, notify
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.lock import FileLock
from edgeharfer.runtime.staging import write_durable

T = TypeVar("T")

LOCK, STARTS = "lock", "starts"
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 15.0
STEP_S = 0.1
TIMEOUT_S = 90.0
"""Extension of systemd's start timeout at each attempt, equal to the unit's TimeoutStartSec."""
TRANSIENT_ERRNOS = frozenset({
    errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENOMEM, errno.ENOSPC,
})  # fmt: skip

_log = logging.getLogger(__name__)


class Startup:
    """Runs the steps of the start, and retries those that fail with a transient fault.

    During retries the watchdog is pinged, the start timeout is extended, and systemd's status shows the
    fault.

    Args:
        stopping: Returns True when the service is stopped.
        over: Returns True when the service is stopped or the time of --duration is up.
        watchdog: Pinged during retries.
        clock: The clock.
        send: Sends messages to systemd.

    Attributes:
        show: Called repeatedly with the fault while it lasts, for /readyz.
    """

    def __init__(
        self,
        stopping: Callable[[], bool],
        over: Callable[[], bool],
        watchdog: WatchdogPinger,
        clock: Clock,
        *,
        send: Callable[[str], object] = notify,
    ) -> None:
        self._stopping, self._over, self._watchdog = stopping, over, watchdog
        self._clock, self._send = clock, send
        self.show: Callable[[str], None] = lambda fault: None

    def step(self, action: Callable[[], T]) -> T:
        """Run an action, with retries, and return its result.

        Raises:
            SinkError: The fault is not transient, or lasts longer than --duration.
            KeyboardInterrupt: The service was stopped.
        """
        pause_s, logged = FIRST_PAUSE_S, ""
        while True:
            try:
                done = action()
            except SinkError as error:
                if not is_transient(error):
                    raise
                if str(error) != logged:
                    logged = str(error)
                    _log.warning("%s; retrying", error)
                self._wait(pause_s, error)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            else:
                if logged:
                    _log.warning("recovered from: %s", logged)
                    self.show("starting")
                return done

    def _wait(self, pause_s: float, error: SinkError) -> None:
        self._send(f"EXTEND_TIMEOUT_USEC={round(1e6 * TIMEOUT_S)}\nSTATUS=waiting: {error}")
        until_s = self._clock.monotonic() + pause_s
        while self._clock.monotonic() < until_s:
            if self._stopping():
                raise KeyboardInterrupt
            if self._over():
                raise error
            self._watchdog.ping()
            self.show(str(error))
            self._clock.sleep(STEP_S)


def is_transient(error: SinkError) -> bool:
    """Whether the fault may end without intervention, such as a port in use or a full disk."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) or (
        isinstance(cause, OSError) and cause.errno in TRANSIENT_ERRNOS
    )


@contextmanager
def state_lock(state: Path) -> Iterator[None]:
    """Create the state folder and lock it.

    Raises:
        SinkError: The folder cannot be written, or another process has locked it.
    """
    lock = FileLock(state / LOCK)
    try:
        state.mkdir(parents=True, exist_ok=True)
        free = lock.acquire()
    except OSError as error:
        raise SinkError(
            f"{state}: cannot be written ({error.strerror}); choose another folder with --state"
        ) from error
    if not free:
        raise SinkError(f"{state}: in use by another kiosk; stop it or choose another folder with --state")
    try:
        yield
    finally:
        lock.close()


def count_start(state: Path) -> int | None:
    """Increment and return the number of starts of the service; None if it cannot be stored."""
    path = state / STARTS
    try:
        state.mkdir(parents=True, exist_ok=True)
        text = path.read_text(encoding="ascii", errors="replace") if path.exists() else "0"
        count = int(text) + 1 if text.strip().isdecimal() else 1
        write_durable(path, b"%d\n" % count)
    except OSError as error:
        _log.warning("%s: cannot be written (%s); this start is not counted", path, error.strerror)
        return None
    return count
