"""The service's start: the lock on its state folder, the count of starts, and waiting for faults to pass."""

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
"""What systemd is asked to wait from each attempt on, as long as the unit's TimeoutStartSec."""
TRANSIENT_ERRNOS = frozenset({
    errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENOMEM, errno.ENOSPC,
})  # fmt: skip

_log = logging.getLogger(__name__)


class Startup:
    """Runs the steps of the start; one that fails by a passing fault is tried again until it succeeds.

    Meanwhile the watchdog is pinged, systemd is asked for more time, and its STATUS names the fault.

    stopping: a person or systemd ends the service. over: that, or the time given by --duration is up.
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
        """Called again and again while a fault lasts, for /readyz."""

    def step(self, action: Callable[[], T]) -> T:
        """What `action` returns in the end.

        Raises SinkError for a fault that a person has to remove, or one that outlasts --duration;
        KeyboardInterrupt for a stop meanwhile.
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
                    _log.warning("%s; trying again until it works", error)
                self._wait(pause_s, error)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)
            else:
                if logged:
                    _log.warning("the fault has passed: %s", logged)
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
    """Whether the fault ends without anybody changing the configuration: a taken port, a full disk."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) or (
        isinstance(cause, OSError) and cause.errno in TRANSIENT_ERRNOS
    )


@contextmanager
def state_lock(state: Path) -> Iterator[None]:
    """Make the state folder and hold it. Raises SinkError where another process holds it."""
    lock = FileLock(state / LOCK)
    try:
        state.mkdir(parents=True, exist_ok=True)
        free = lock.acquire()
    except OSError as error:
        raise SinkError(f"{state}: cannot be written ({error.strerror}); give a folder by --state") from error
    if not free:
        raise SinkError(f"{state}: in use by another kiosk; stop that one, or give another folder by --state")
    try:
        yield
    finally:
        lock.close()


def count_start(state: Path) -> int | None:
    """How often the service was started, this time included; None where the count cannot be kept."""
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
