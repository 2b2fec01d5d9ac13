"""Files and folders are written under a temporary name of their own, then renamed to their final name.

A temporary name holds the machine, the process and a random number, so that no two writers share one:

    .report.9f3a61c2-4711-5d0be2aa.part        beside "report"
    .out.9f3a61c2-4711-5d0be2aa.part.mp4       beside "out.mp4"

While it is written, its process holds a lock on it (flock). The next writer of the same target removes what
has no lock any more. Without such locks (Windows, some network file systems), and for the files of other
machines, it removes what has not changed for a day.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.lock import try_lock

ABANDONED_S = 86_400.0
"""Age without a change after which a temporary file is abandoned, where its lock cannot tell."""
NEW, OLD = "new", "old"
_MAX_NAME_BYTES = 150  # of a target; file systems allow 255 for the whole name
_WAIT_S = 5.0  # for the lock on a folder, which is held for milliseconds
_POLL_S = 0.01


def temporary_path(target: Path) -> Path:
    """A name beside the target that no other writer uses; the suffix stays."""
    owner = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return target.with_name(f".{_shortened(target.stem)}.{owner}.part{target.suffix}")


@contextmanager
def temporary_file(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """An empty file beside the target, removed at the end unless it was renamed. Raises OSError."""
    with locked_folder(target.parent) as locked:
        if locked:
            remove_abandoned(target)
        path = temporary_path(target)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        held = _hold(path)
    try:
        yield path
    finally:
        # In this order: on Windows, an open file cannot be removed.
        _release(held)
        path.unlink(missing_ok=True)


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """An empty folder for `replace_folder`, removed at the end unless it was renamed. Raises OSError.

    It lies in a folder of its own beside the target, which also takes what the target held before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked_folder(target.parent) as locked:
        if locked:
            remove_abandoned(target)
        outer = temporary_path(target)
        (outer / NEW).mkdir(parents=True)
        held = _hold(outer)
    try:
        yield outer / NEW
    finally:
        shutil.rmtree(outer, ignore_errors=True)
        _release(held)


@contextmanager
def replaced_file(target: Path, mode: int = 0o666) -> Iterator[Path]:
    """A `temporary_file` that takes the place of the target at the end of the block. Raises OSError."""
    with temporary_file(target, mode) as path:
        yield path
        path.replace(target)


def write_durable(target: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that it is the old or the new one after a power cut. Raises OSError."""
    with replaced_file(target, mode) as path, path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames within a folder outlast a power cut; Windows opens no folders, and has no such call."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def give_to_folder_owner(path: Path, folder: Path) -> None:
    """Give what an administrator wrote to the owner of a folder, the service."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    owner = folder.stat()
    for one in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.chown(one, owner.st_uid, owner.st_gid, follow_symlinks=False)


def write_text(path: Path, text: str) -> None:
    """Write a file that a person asked for; a device or a pipe will do. Raises SinkError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error


def write_json(path: Path, content: object) -> None:
    """Write JSON for people and programs, as `write_text` does."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def cannot_write(path: Path | str, error: OSError) -> SinkError:
    """The one line for an output that the system refuses."""
    reason = error.strerror or type(error).__name__
    return SinkError(f"{path}: cannot be written ({reason}); check the folder, its rights and free space")


@contextmanager
def replaced_folder(out: Path, check: Callable[[Path], None] = lambda out: None) -> Iterator[Path]:
    """A new folder beside `out` that takes its place at the end, and goes away if anything fails.

    check: called before it is replaced; raises where another process has put something there that must stay.
    Raises SinkError where the disk says no.
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
    """Rename a `temporary_folder` to its target; the folders that were there before are returned.

    Readers find the old folder, none for a moment, or the new one. Raises OSError, and the old one stays.
    """
    moved: list[Path] = []
    while True:
        try:
            new.rename(target)
        except OSError:
            if not target.is_dir():
                if moved:
                    moved[-1].rename(target)
                raise
        else:
            return moved
        aside = new.with_name(f"{OLD}-{secrets.token_hex(4)}")
        # Another writer may have taken it away at this moment.
        with contextlib.suppress(FileNotFoundError):
            target.rename(aside)
            moved.append(aside)


@contextmanager
def locked_folder(folder: Path, clock: Clock | None = None) -> Iterator[bool]:
    """Keep other writers out of a folder for a moment; whether that is possible here."""
    clock = clock or SystemClock()
    held, busy = _try_hold(folder)
    end_s = clock.monotonic() + _WAIT_S
    while busy and clock.monotonic() < end_s:
        clock.sleep(_POLL_S)
        held, busy = _try_hold(folder)
    try:
        yield held is not None
    finally:
        _release(held)


def remove_abandoned(target: Path, clock: Clock | None = None) -> None:
    """Remove the temporary files and folders of processes that have ended without doing so.

    A folder that such a process had moved aside is put back where nothing has taken its place.
    """
    stem, suffix = re.escape(_shortened(target.stem)), re.escape(target.suffix)
    owned = re.compile(rf"\.{stem}\.(?P<machine>[0-9a-f]{{8}})-\d+-[0-9a-f]{{8}}\.part{suffix}")
    plain = f".{target.name}.part"  # as earlier versions named it
    for path in list(target.parent.iterdir()) if target.parent.is_dir() else []:
        match = owned.fullmatch(path.name)
        if match is None and path.name != plain:
            continue
        ours = match is None or match["machine"] == _machine()
        if not path.is_symlink() and _is_abandoned(path, ours, clock or SystemClock()):
            _remove(path, target)


def _remove(path: Path, target: Path) -> None:
    with contextlib.suppress(OSError):  # left for the next writer
        if not path.is_dir():
            path.unlink()
            return
        for old in path.glob(f"{OLD}-*"):
            if not target.exists():
                old.rename(target)
        shutil.rmtree(path)


def _is_abandoned(path: Path, ours: bool, clock: Clock) -> bool:
    if ours:
        held, busy = _try_hold(path)
        _release(held)
        if held is not None or busy:
            return not busy
    try:
        return clock.wall() - path.stat().st_mtime > ABANDONED_S
    except OSError:  # it has just been removed
        return False


def _hold(path: Path) -> int | None:
    return _try_hold(path)[0]


def _try_hold(path: Path) -> tuple[int | None, bool]:
    """A descriptor that locks the file or folder until it is closed; and whether another one holds it."""
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


def _release(held: int | None) -> None:
    if held is not None:
        os.close(held)


def _machine() -> str:
    return hashlib.sha256(platform.node().encode("utf-8", "replace")).hexdigest()[:8]


def _shortened(stem: str) -> str:
    return os.fsencode(stem)[:_MAX_NAME_BYTES].decode("utf-8", "ignore")
