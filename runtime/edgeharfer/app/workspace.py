"""The private folder of one app: nobody else can look into it, and nothing outlives the app in it.

Each app has a folder of its own, held by a lock. The system lets go of the lock however the process ends,
so the next app finds what a killed one left, and clears it away.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.lock import FileLock
from edgeharfer.runtime.staging import cannot_write, locked_folder

PREFIX = "app-"
LOCK = "lock"

_log = logging.getLogger(__name__)


class Workspace(Closing):
    """A folder with mode 0700 while the `with` block lasts.

    parent: None is a folder of this user's in the system's temporary one.
    Raises SinkError where there is no such folder and none can be made, or others could look into it.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = default_parent() if parent is None else parent

    def __enter__(self) -> Self:
        try:
            self._parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(self._parent)
            with locked_folder(self._parent):  # or another app would clear this one before it has its lock
                remove_leftovers(self._parent)
                self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
                self._lock = FileLock(self.path / LOCK)
                with suppress(OSError):  # a file system without locks
                    self._lock.acquire()
        except OSError as error:
            raise cannot_write(self._parent, error) from error
        return self

    def close(self) -> None:
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def new_folder(self) -> Path:
        """An empty folder with a name that nobody can guess."""
        folder = self.path / secrets.token_urlsafe(16)
        folder.mkdir(mode=0o700)
        return folder

    def free_bytes(self) -> int:
        """Room left on its disk."""
        return shutil.disk_usage(self.path).free


def default_parent() -> Path:
    """In the temporary folder, under this user's number where there is one."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"edgeharfer-{user}"


def remove_leftovers(parent: Path) -> list[Path]:
    """Remove the folders of apps that are no more, and tell which."""
    gone = []
    for folder in sorted(parent.glob(f"{PREFIX}*")):
        if folder.is_dir() and not folder.is_symlink() and not _is_locked(folder / LOCK):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    if gone:
        _log.info("%s: cleared what %d earlier apps had left", parent, len(gone))
    return gone


def _check_private(folder: Path) -> None:
    """Another user may have made a folder of that name first, to look into it."""
    if not hasattr(os, "getuid"):
        return
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise SinkError(f"{folder}: belongs to somebody else; give another --upload-dir")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise SinkError(f"{folder}: others can look into it; chmod 700 it or give another --upload-dir")


def _is_locked(lock: Path) -> bool:
    """Whether a running app holds the lock, or nothing can be locked there."""
    try:
        with FileLock(lock) as own:
            return not own.acquire()
    except OSError:
        return True
