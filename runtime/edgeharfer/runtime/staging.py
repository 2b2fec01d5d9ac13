"""Atomic output: files and folders are written under a temporary name, then renamed to their final name.

A temporary name contains the machine, the process and a random number, so that no two writers share one:

    .report.9f3a61c2-4711-5d0be2aa.part        next to "report"
    .out.9f3a61c2-4711-5d0be2aa.part.mp4       next to "out.mp4"

The writing process holds a lock on it (flock). The next writer of the same target removes temporary files
that are no longer locked. Without such locks (Windows, network file systems), and for files of other
machines, it removes those that have not changed for a day, by the clock of the file system.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.lock import try_lock

ABANDONED_S = 86_400.0
"""Seconds without a change after which a temporary file without lock support counts as abandoned."""
NEW, OLD = "new", "old"
_MAX_NAME_BYTES = 150  # of the target's stem; file systems allow 255 for the whole name
_LOCK_TIMEOUT_S = 5.0  # of a folder, which is locked for milliseconds
_POLL_S = 0.01
_OCCUPIED = frozenset({errno.EEXIST, errno.ENOTEMPTY})
"""Errors of a rename to a folder that is not empty."""


def temporary_path(target: Path) -> Path:
    """Return a unique temporary path in the folder of the target, with the same suffix."""
    owner = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(f".{_shortened(target.stem)}.{owner}.part{target.suffix}")


@contextmanager
def temporary_file(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """Create an empty file next to the target, and remove it at the end unless it was renamed.

    Raises:
        OSError: The file cannot be created.
    """
    with locked_folder(target.parent) as locked:
        if locked:
            remove_abandoned(target)
        path = temporary_path(target)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        descriptor = _lock_path(path)
    try:
        yield path
    finally:
        # In this order, because Windows cannot remove an open file.
        _unlock(descriptor)
        path.unlink(missing_ok=True)


@contextmanager
def temporary_folder(target: Path, *, sweep: bool = True) -> Iterator[Path]:
    """Create an empty folder for `replace_folder`, and remove it at the end unless it was renamed.

    It is inside another temporary folder next to the target, to which `replace_folder` moves the old content.

    Args:
        target: The target.
        sweep: Call `remove_abandoned` before. It lists the folder of the target; a job that fills one folder
            calls `remove_all_abandoned` once instead.

    Raises:
        OSError: The folder cannot be created.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked_folder(target.parent) as locked:
        if locked and sweep:
            remove_abandoned(target)
        outer = temporary_path(target)
        (outer / NEW).mkdir(parents=True)
        descriptor = _lock_path(outer)
    try:
        yield outer / NEW
    finally:
        shutil.rmtree(outer, ignore_errors=True)
        _unlock(descriptor)


@contextmanager
def replaced_file(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """Create a `temporary_file` that replaces the target at the end of the block.

    Raises:
        OSError: The file cannot be created or renamed.
    """
    with temporary_file(target, mode) as path:
        yield path
        path.replace(target)


def write_durable(target: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that either the old or the new content survives a power failure.

    Raises:
        OSError: The file cannot be written.
    """
    with replaced_file(target, mode) as path, path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Flush renames within a folder to disk. No effect on Windows, which has no such call."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_to_folder_owner(path: Path, folder: Path) -> None:
    """Change the owner of a file or tree to that of a folder, if this process runs as root."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = folder.stat()
    for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.chown(one, owner.st_uid, owner.st_gid, follow_symlinks=False)


def write_text(path: Path, text: str) -> None:
    """Write a text file that the user named. It may also be a device or a pipe.

    Raises:
        SinkError: The file cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error


def write_json(path: Path, content: object) -> None:
    """Write indented JSON with `write_text`."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def cannot_write(path: Path | str, error: OSError) -> SinkError:
    """Return the SinkError for an output that cannot be written."""
    reason = error.strerror or type(error).__name__
    return SinkError(
        f"{path}: cannot be written ({reason}); check the folder, its permissions and free space"
    )


@contextmanager
def replaced_folder(out: Path, check: Callable[[Path], None] = lambda out: None) -> Iterator[Path]:
    """Create a folder that replaces `out` at the end of the block, and is removed on any error.

    Args:
        out: The target.
        check: Called with the target, under a lock, before it is replaced. It raises an error if the content
            must not be replaced.

    Raises:
        SinkError: The folder cannot be written.
    """
    try:
        with temporary_folder(out) as fresh:
            yield fresh
            with locked_folder(out.parent):
                check(out)
                replace_folder(fresh, out)
    except OSError as error:
        raise cannot_write(out, error) from error


def replace_folder(new: Path, target: Path) -> list[Path]:
    """Rename a `temporary_folder` to its target.

    Readers see the old folder, no folder for a moment, or the new folder.

    Returns:
        The previous folders of the target, which have been moved aside.

    Raises:
        OSError: The folder cannot be renamed. The old folder is restored.
    """
    moved: list[Path] = []
    while True:
        try:
            new.rename(target)
        except OSError as error:
            # On a network file system, another machine's new folder may not be visible yet.
            if error.errno not in _OCCUPIED and not target.is_dir():
                if moved:
                    moved[-1].rename(target)
                raise
        else:
            return moved
        aside = new.with_name(f"{OLD}-{secrets.token_hex(4)}")
        # Another writer may have moved it at this moment.
        with contextlib.suppress(FileNotFoundError):
            target.rename(aside)
            moved.append(aside)


@contextmanager
def locked_folder(folder: Path, clock: Clock | None = None) -> Iterator[bool]:
    """Lock a folder against other writers for a moment, and yield whether that succeeded."""
    clock = clock or SystemClock()
    descriptor, busy = _try_lock_path(folder)
    end_s = clock.monotonic() + _LOCK_TIMEOUT_S
    while busy and clock.monotonic() < end_s:
        clock.sleep(_POLL_S)
        descriptor, busy = _try_lock_path(folder)
    try:
        yield descriptor is not None
    finally:
        _unlock(descriptor)


def remove_abandoned(target: Path, clock: Clock | None = None) -> None:
    """Remove the temporary files and folders of a target that ended processes have left behind.

    A folder that such a process had moved aside is restored if the target does not exist.

    Args:
        target: The target.
        clock: Gives the time in place of the file system.
    """
    stem, suffix = re.escape(_shortened(target.stem)), re.escape(target.suffix)
    owned = re.compile(rf"\.{stem}\.(?P<machine>[0-9a-f]{{8}})-\d+-[0-9a-f]{{8}}\.part{suffix}")
    plain = f".{target.name}.part"  # as earlier versions named it
    for path in list(target.parent.glob(".*")):  # not all, since a folder may hold thousands of reports
        match = owned.fullmatch(path.name)
        if match is None and path.name != plain:
            continue
        ours = match is None or match["machine"] == _machine()
        _remove_if_abandoned(path, target, ours, clock)


def remove_all_abandoned(folder: Path, clock: Clock | None = None) -> None:
    """Call `remove_abandoned` for every target in a folder, which must exist."""
    owned = re.compile(r"\.(?P<stem>.+)\.(?P<machine>[0-9a-f]{8})-\d+-[0-9a-f]{8}\.part(?P<suffix>(\..+)?)")
    with locked_folder(folder):  # a new one is locked only after it has been created
        for path in list(folder.glob(".*")):
            if match := owned.fullmatch(path.name):
                target = folder / (match["stem"] + match["suffix"])
                _remove_if_abandoned(path, target, match["machine"] == _machine(), clock)


def _remove_if_abandoned(path: Path, target: Path, ours: bool, clock: Clock | None) -> None:
    if path.is_symlink() or not _is_abandoned(path, ours, clock):
        return
    with contextlib.suppress(OSError):  # left for the next writer
        if not path.is_dir():
            path.unlink()
            return
        for old in path.glob(f"{OLD}-*"):
            if not target.exists():
                old.rename(target)
        shutil.rmtree(path)


def _is_abandoned(path: Path, ours: bool, clock: Clock | None) -> bool:
    if ours:
        descriptor, busy = _try_lock_path(path)
        _unlock(descriptor)
        if descriptor is not None or busy:
            return not busy
    try:
        now_s = _time_of_files(path.parent) if clock is None else clock.wall()
        return now_s - path.stat().st_mtime > ABANDONED_S
    except OSError:  # it has just been removed, or nothing can be written here
        return False


def _time_of_files(folder: Path) -> float:
    """The time by which a file system dates files: of the server, for a network file system.

    Raises:
        OSError: The folder is not writable.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".edgeharfer.", suffix=".part") as file:
        return os.fstat(file.fileno()).st_mtime


def _lock_path(path: Path) -> int | None:
    return _try_lock_path(path)[0]


def _try_lock_path(path: Path) -> tuple[int | None, bool]:
    """Return a descriptor that locks the path until closed, or None; and whether another process holds it."""
    if sys.platform == "win32":
        return None, False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None, False
    try:
        if try_lock(descriptor):
            return descriptor, False
    except OSError:  # this file system has no locks
        os.close(descriptor)
        return None, False
    os.close(descriptor)
    return None, True


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _machine() -> str:
    return hashlib.sha256(platform.node().encode("utf-8", "replace")).hexdigest()[:8]


def _shortened(stem: str) -> str:
    return os.fsencode(stem)[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
