"""Locks between processes on files; the system releases them however the process that holds one ends."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from edgeharfer.runtime.closing import Closing

_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
_LOCKED_BYTE = 1 << 40
"""Windows locks bytes, and others can then not read them: one far behind the end of any file is taken."""


class FileLock(Closing):
    """An exclusive lock on a file, which is created where it does not exist.

        with FileLock(folder / "lock") as lock:
            if not lock.acquire():
                raise SinkError(...)

    The file stays when the lock is released: removing it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Whether this process holds the lock now; it is not waited for. Raises OSError."""
        if self._descriptor is not None:
            return True
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            locked = try_lock(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        if locked:
            self._descriptor = descriptor
        else:
            os.close(descriptor)
        return locked

    def close(self) -> None:
        """Release the lock; harmless where it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file until it is closed; False where another process, or another open file, holds it.

    Raises OSError where the file system cannot lock.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            at = os.lseek(descriptor, 0, os.SEEK_CUR)
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(descriptor, at, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True
