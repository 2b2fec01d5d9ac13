"""A file of whole lines, whatever happens to the process, the disk or a reader meanwhile."""

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

_BEGINNING = b'{"kind":'  # of each line
_MAX_LINE = 1024 * 1024
# How long the run waits for the reader of a named pipe, once; a reader that is stuck is then passed over.
_READER_S = 1.0

_log = logging.getLogger(__name__)


class FileWriter:
    """Appends lines, unbuffered. What a named pipe has no room for is refused, not waited for for long.

    A regular file is locked while it is open, so that the lines of two runs cannot mix.
    """

    def __init__(self, path: Path) -> None:
        """Open and lock the file, and cut off a torn line at its end. Raises SinkError."""
        self._path = path
        self._rest = b""  # of a line that a pipe took in part
        self._stuck = False
        try:
            # Never O_TRUNC, and no waiting for a reader to come.
            self._file = FileIO(path, "r+", opener=_open)
        except OSError as error:
            raise self._refused(error) from error
        self._regular = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)
        try:
            self._whole_bytes = self._begin() if self._regular else 0
        except BaseException:
            self._file.close()
            raise

    def write(self, line: str) -> None:
        """Append one line. Raises OSError, and leaves no part of it behind."""
        data = line.encode("ascii")
        if self._regular:
            self._append(data)
        else:
            self._send(data)

    def reader_gone(self) -> None:
        """Nothing: nothing is buffered."""

    def close(self) -> None:
        """Force what was written to the disk. Raises SinkError where the system cannot."""
        try:
            with self._file:
                if self._regular:
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
            self._file.seek(self._whole_bytes)
            self._file.truncate()
            raise
        self._whole_bytes += len(data)

    def _send(self, data: bytes) -> None:
        """To a pipe or device: a line that was taken in part is completed before the next one."""
        self._rest = self._put(self._rest)
        if self._rest:
            raise BlockingIOError(errno.EAGAIN, "its reader does not keep up")
        rest = self._put(data)
        if len(rest) == len(data):
            raise BlockingIOError(errno.EAGAIN, "its reader does not keep up")
        self._rest = rest

    def _put(self, data: bytes) -> bytes:
        """What is not taken within the time that a reader is given."""
        while data:
            taken = self._file.write(data)
            if taken:
                self._stuck = False
                data = data[taken:]
            elif self._stuck or not select.select([], [self._file], [], _READER_S)[1]:
                self._stuck = True
                break
        return data

    def _begin(self) -> int:
        """Lock the file before anything in it is changed. The size of what it holds."""
        try:
            locked = try_lock(self._file.fileno())
        except OSError as error:  # a network file system without locks: written as before
            _log.debug("%s: cannot be locked: %s", self._path, error)
            locked = True
        if not locked:
            raise SinkError(f"{self._path}: another run is writing to it; give another path")
        return self._cut_torn_line()

    def _cut_torn_line(self) -> int:
        """The size of the file in whole lines, which it then has."""
        size = self._file.seek(0, os.SEEK_END)
        start = self._file.seek(max(0, size - _MAX_LINE))
        end = self._file.read()
        torn = end[end.rfind(b"\n") + 1 :]
        whole = end[: len(end) - len(torn)]
        last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        if not (last.startswith(_BEGINNING) or not last) or not _may_be_ours(torn):
            raise SinkError(f"{self._path}: holds something other than events; give another path")
        if torn:
            _log.warning("%s: a line that was torn is cut off", self._path)
            self._file.truncate(start + len(whole))
        return self._file.seek(start + len(whole))

    def _refused(self, error: OSError) -> SinkError:
        if error.errno == errno.ENXIO:
            return SinkError(f"{self._path}: nobody reads this pipe; start its reader first")
        return cannot_write(self._path, error)


def _may_be_ours(torn: bytes) -> bool:
    return torn.startswith(_BEGINNING) or _BEGINNING.startswith(torn)


def _open(path: str, flags: int) -> int:
    """Read and write a file; only write what is none, since a pipe would never tell that its reader left."""
    if Path(path).exists() and not Path(path).is_file():
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
