"""File locks between processes. The operating system releases them when the process ends for any reason."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from edgeharfer.runtime.closing import Closing

_HELD = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
_LOCKED_BYTE = 1 << 40
"""Windows locks byte ranges, which other processes cannot read then. This byte is beyond any file's end."""


class FileLock(Closing):
    """An exclusive lock on a file, which is created if it does not exist.

        with FileLock(folder / "lock") as lock:
            if not lock.acquire():
                raise SinkError(...)

    Releasing the lock does not remove the file: otherwise two processes could lock different files of the
    same name.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Try to acquire the lock without waiting; return whether it is held by this object.

        Raises:
            OSError: The file cannot be opened, or its file system does not support locks.
        """
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
        """Release the lock. No effect if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Try to lock an open file until it is closed.

    Returns:
        False if another process, or another descriptor of this process, holds the lock.

    Raises:
        OSError: The file system does not support locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            position = os.lseek(descriptor, 0, os.SEEK_CUR)
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(descriptor, position, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        raise
    return True
