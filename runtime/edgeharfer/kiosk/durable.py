"""Small files that are either the old or the new one after a power cut, and that the service may read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edgeharfer.runtime.staging import temporary_file

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)  # Windows hands no descriptors on


def write_durable(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write beside the target, sync, rename, sync the folder. Raises OSError and leaves the old file."""
    with temporary_file(path, mode) as temporary:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames within a folder outlast a power cut; Windows opens no folders, and has no such call."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | _CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hand_over(path: Path, state: Path) -> None:
    """Give what an administrator wrote below the state folder to that folder's owner, the service."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = state.stat()
    for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.chown(one, owner.st_uid, owner.st_gid, follow_symlinks=False)
