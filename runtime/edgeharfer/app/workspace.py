"""The private folder of one app, which is removed when the app ends.

Each app holds a lock on its own folder. The system releases the lock however the process ends, so that the
next app recognises and removes the folders of killed ones.
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
from typing import TYPE_CHECKING

from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.lock import FileLock
from edgeharfer.runtime.staging import cannot_write, locked_folder

if TYPE_CHECKING:
    from typing_extensions import Self

PREFIX = "app-"
LOCK = "lock"

_log = logging.getLogger(__name__)


class Workspace(Closing):
    """A folder with mode 0700 that exists while the `with` block lasts.

    Args:
        parent: Parent folder; None for one in the system's temporary folder.

    Raises:
        SinkError: The parent folder cannot be created, or other users can access it.
    """

    def __init__(self, parent: Path | None = None) -> None:
        self._parent = default_parent() if parent is None else parent

    def __enter__(self) -> Self:
        try:
            self._parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_private(self._parent)
            with locked_folder(self._parent):  # no other app may remove it before it is locked
                remove_leftovers(self._parent)
                self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._parent))
                self._lock = FileLock(self.path / LOCK)
                with suppress(OSError):  # the file system does not support locks
                    self._lock.acquire()
        except OSError as error:
            raise cannot_write(self._parent, error) from error
        return self

    def close(self) -> None:
        self._lock.close()
        shutil.rmtree(self.path, ignore_errors=True)

    def new_folder(self) -> Path:
        """Create an empty folder with a random name."""
        folder = self.path / secrets.token_urlsafe(16)
        folder.mkdir(mode=0o700)
        return folder

    def free_bytes(self) -> int:
        """Free space of its disk, in bytes."""
        return shutil.disk_usage(self.path).free


def default_parent() -> Path:
    """A folder in the system's temporary folder, named after the user id where there is one."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"edgeharfer-{user}"


def remove_leftovers(parent: Path) -> list[Path]:
    """Remove the folders of apps that no longer run, and return them."""
    gone = []
    for folder in sorted(parent.glob(f"{PREFIX}*")):
        if folder.is_dir() and not folder.is_symlink() and not _is_locked(folder / LOCK):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder)
    if gone:
        _log.info("%s: removed %d folders of earlier apps", parent, len(gone))
    return gone


def _check_private(folder: Path) -> None:
    """Check that no other user owns or can read the folder; one may have created it first.

    Raises:
        SinkError: Another user has access.
    """
    if not hasattr(os, "getuid"):
        return
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise SinkError(f"{folder}: belongs to another user; choose another folder with --upload-dir")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise SinkError(
            f"{folder}: other users can read it; run chmod 700 on it or choose another --upload-dir"
        )


def _is_locked(lock: Path) -> bool:
    """Whether a running app holds the lock, or the file system does not support locks."""
    try:
        with FileLock(lock) as own:
            return not own.acquire()
    except OSError:
        return True
