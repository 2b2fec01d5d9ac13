"""A file of complete lines, even if the process is killed, the disk is full or a reader stalls."""

from __future__ import annotations

import errno
import logging
import os
import select
import stat
from io import FileIO
from pathlib import Path

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.lock import try_lock
from edgeharfer.runtime.staging import cannot_write

_LINE_START = b'{"kind":'
_MAX_LINE = 1024 * 1024
# Time to wait for the reader of a named pipe; a reader that stalls longer misses lines.
_READER_TIMEOUT_S = 1.0

_log = logging.getLogger(__name__)


class FileWriter:
    """Appends unbuffered lines to a file, or writes them to a named pipe or device.

    A regular file is locked while it is open, so that the lines of two runs cannot mix. Lines for which a
    pipe has no room are refused after a short wait.
    """

    def __init__(self, path: Path) -> None:
        """Open and lock the file, and remove an incomplete line at its end.

        Raises:
            SinkError: The file cannot be written, is in use by another run, or holds something else.
        """
        self._path = path
        self._rest = b""  # of a line that a pipe accepted in part
        self._stalled = False
        try:
            # Never O_TRUNC, and do not wait for a reader.
            self._file = FileIO(path, "r+", opener=_open)
        except OSError as error:
            raise self._refused(error) from error
        self._is_regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        try:
            self._size = self._prepare() if self._is_regular else 0
        except BaseException:
            self._file.close()
            raise

    def write(self, line: str) -> None:
        """Append one line.

        Raises:
            OSError: The line cannot be written; a part that was written is removed.
        """
        data = line.encode("ascii")
        if self._is_regular:
            self._append(data)
        else:
            self._send(data)

    def handle_broken_pipe(self) -> None:
        """Do nothing: there is no buffer to discard."""

    def close(self) -> None:
        """Flush a file to the disk (fsync) and close it.

        Raises:
            SinkError: The data cannot be written.
        """
        try:
            with self._file:
                if self._is_regular:
                    os.fsync(self._file.fileno())
                else:
                    self._put(self._rest)
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            self._file.seek(self._size)
            self._file.truncate()
            raise
        self._size += len(data)

    def _send(self, data: bytes) -> None:
        """Write to a pipe or device; completes a partly written line before the next one."""
        self._rest = self._put(self._rest)
        if self._rest:
            raise BlockingIOError(errno.EAGAIN, "its reader does not keep up")
        rest = self._put(data)
        if len(rest) == len(data):
            raise BlockingIOError(errno.EAGAIN, "its reader does not keep up")
        self._rest = rest

    def _put(self, data: bytes) -> bytes:
        """Write as much as the reader accepts in time and return the rest."""
        while data:
            count = self._file.write(data)
            if count:
                self._stalled = False
                data = data[count:]
            elif self._stalled or not select.select([], [self._file], [], _READER_TIMEOUT_S)[1]:
                self._stalled = True
                break
        return data

    def _prepare(self) -> int:
        """Lock the file before changing it, remove an incomplete last line and return its size."""
        try:
            locked = try_lock(self._file.fileno())
        except OSError as error:  # a network file system without locks
            _log.debug("%s: cannot be locked: %s", self._path, error)
            locked = True
        if not locked:
            raise SinkError(f"{self._path}: another run is writing to this file; use another path")
        return self._remove_incomplete_line()

    def _remove_incomplete_line(self) -> int:
        """Truncate the file to complete lines and return its size."""
        size = self._file.seek(0, os.SEEK_END)
        start = self._file.seek(max(0, size - _MAX_LINE))
        end = self._file.read()
        incomplete = end[end.rfind(b"\n") + 1 :]
        whole = end[: len(end) - len(incomplete)]
        last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        if not (last.startswith(_LINE_START) or not last) or not _may_be_event(incomplete):
            raise SinkError(f"{self._path}: contains something other than events; use another path")
        if incomplete:
            _log.warning("%s: removed an incomplete last line", self._path)
            self._file.truncate(start + len(whole))
        return self._file.seek(start + len(whole))

    def _refused(self, error: OSError) -> SinkError:
        if error.errno == errno.ENXIO:
            return SinkError(f"{self._path}: this pipe has no reader; start the reader first")
        return cannot_write(self._path, error)


def _may_be_event(incomplete: bytes) -> bool:
    return incomplete.startswith(_LINE_START) or _LINE_START.startswith(incomplete)


def _open(path: str, flags: int) -> int:
    """Open a regular file for reading and writing, anything else for writing only.

    A pipe that is also open for reading would never report that its reader has gone.
    """
    if Path(path).exists() and not Path(path).is_file():
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
