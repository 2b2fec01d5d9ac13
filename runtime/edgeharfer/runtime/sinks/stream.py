"""Non-blocking writes to standard output and standard error, whose reader may have stalled."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

# Interval at which a stop is noticed, and time that a reader has for the last lines.
_POLL_S, _FINAL_WAIT_S = 0.1, 0.5


def is_writable(stream: TextIO, wait_s: float = 0.0) -> bool:
    """Return whether a line can be written without blocking; true if the system cannot tell."""
    descriptor = _descriptor(stream)
    return descriptor is None or _poll_writable(descriptor, wait_s)


class StreamWriter:
    """Writes lines to a stream of the process, without closing it.

    As with any pipe, a slow reader slows down the run, except when it has been asked to stop.
    """

    def __init__(self, stream: TextIO, stopping: Callable[[], bool]) -> None:
        self._stream, self._stopping = stream, stopping
        self._rest = b""  # of a line that was accepted in part

    def write(self, line: str) -> None:
        """Write one line.

        Raises:
            BlockingIOError: The reader stalls and the run has been asked to stop; nothing was written.
        """
        descriptor = _descriptor(self._stream)
        if descriptor is None:
            self._stream.write(line)
            self._stream.flush()
            return
        data = self._rest + line.encode("ascii")
        sent = self._send(descriptor, data)
        started = sent > len(self._rest)
        self._rest = data[sent:] if started else self._rest[sent:]
        if not started:
            raise BlockingIOError(errno.EAGAIN, "its reader does not keep up")

    def handle_broken_pipe(self) -> None:
        """Redirect the stream to the null device, as its buffer still holds the line."""
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), self._stream.fileno())

    def close(self) -> None:
        """Do nothing: every line is handed to the operating system at once."""

    def _send(self, descriptor: int, data: bytes) -> int:
        """Return the number of bytes written. Up to PIPE_BUF bytes never block if there is room (POSIX)."""
        sent = 0
        while sent < len(data) and self._wait(descriptor):
            sent += os.write(descriptor, data[sent : sent + select.PIPE_BUF])
        return sent

    def _wait(self, descriptor: int) -> bool:
        while not _poll_writable(descriptor, _POLL_S):
            if self._stopping():
                return _poll_writable(descriptor, _FINAL_WAIT_S)
        return True


def _descriptor(stream: TextIO) -> int | None:
    """Return the file descriptor, or None if there is none or it cannot be polled."""
    if sys.platform == "win32":
        return None
    try:
        return stream.fileno()
    except (OSError, ValueError):  # no real file, or closed
        return None


def _poll_writable(descriptor: int, wait_s: float) -> bool:
    """Return whether a write would not block; also true for a broken pipe."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(1e3 * wait_s))
