"""Standard output and standard error, whose reader may have stopped to read: nothing waits for it unasked."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

# The longest wait in one piece, and so the delay of a stop; how long a reader has for the last lines.
_PIECE_S, _LAST_S = 0.1, 0.5


def is_writable(stream: TextIO, wait_s: float = 0.0) -> bool:
    """Whether some line can be written without waiting for its reader; true where that cannot be told."""
    descriptor = _descriptor(stream)
    return descriptor is None or _takes_more(descriptor, wait_s)


class StreamWriter:
    """Lines to a stream that belongs to the process and stays open.

    A reader that is slow holds the run back, as in any pipe; but not a run that is to stop.
    """

    def __init__(self, stream: TextIO, stopping: Callable[[], bool]) -> None:
        self._stream, self._stopping = stream, stopping
        self._rest = b""  # of a line that was taken in part

    def write(self, line: str) -> None:
        """Write one line. Raises BlockingIOError where it was not begun, as the run is to stop."""
        descriptor = _descriptor(self._stream)
        if descriptor is None:
            self._stream.write(line)
            self._stream.flush()
            return
        data = self._rest + line.encode("ascii")
        sent = self._send(descriptor, data)
        begun = sent > len(self._rest)
        self._rest = data[sent:] if begun else self._rest[sent:]
        if not begun:
            raise BlockingIOError(errno.EAGAIN, "its reader does not keep up")

    def reader_gone(self) -> None:
        """The stream still holds the line, and would fail once more at whatever is printed next."""
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())

    def close(self) -> None:
        """Nothing: every line was given to the system at once."""

    def _send(self, descriptor: int, data: bytes) -> int:
        """How much was taken. What is not longer than PIPE_BUF never waits where there is room (POSIX)."""
        sent = 0
        while sent < len(data) and self._wait(descriptor):
            sent += os.write(descriptor, data[sent : sent + select.PIPE_BUF])
        return sent

    def _wait(self, descriptor: int) -> bool:
        while not _takes_more(descriptor, _PIECE_S):
            if self._stopping():
                return _takes_more(descriptor, _LAST_S)
        return True


def _descriptor(stream: TextIO) -> int | None:
    """None where the stream is none of the system's, or the system cannot tell whether one has room."""
    if sys.platform == "win32":
        return None
    try:
        return stream.fileno()
    except (OSError, ValueError):  # a stand-in, or one that is closed
        return None


def _takes_more(descriptor: int, wait_s: float) -> bool:
    """Also where its reader has gone, which writing then tells."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(1e3 * wait_s))
