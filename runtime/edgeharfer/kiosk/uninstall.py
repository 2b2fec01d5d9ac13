"""Uninstalls the service: removes edgeharfer's own files, and lists everything else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeharfer.kiosk.config import default_text
from edgeharfer.kiosk.install import Command, InstallPaths, attempt, systemd_runs
from edgeharfer.kiosk.startup import LOCK
from edgeharfer.kiosk.unit import MARK, NAME
from edgeharfer.kiosk.update import file_names
from edgeharfer.runtime.errors import ModelError, SinkError
from edgeharfer.runtime.inference.package import MANIFEST, load_package
from edgeharfer.runtime.lock import FileLock

_FILES = re.compile(
    r"lock|\.?(starts|calibration\.json)(\.part)?|outbox\.(db(-wal|-shm|-journal)?|broken)"
    r"|models/(action|emotion)/\.?(current|previous)(\.part)?|\.cache/edgeharfer/.+|\.nv/ComputeCache/.+"
)
"""Files and links in the state folder: those of the kiosk, and the caches of ONNX Runtime and CUDA."""
_FOLDERS = re.compile(r"models(/(action|emotion))?|\.cache(/edgeharfer(/.+)?)?|\.nv(/ComputeCache(/.+)?)?")
_PACKAGES = re.compile(r"models/(action|emotion)/(\..+\.part|[^/]+-[0-9a-f]{8})")
"""Package folders written by `models install`."""

Own = Callable[[Path], bool]


def uninstall(paths: InstallPaths, run: Command, *, purge: bool = False) -> list[str]:
    """Stop the service and remove its files.

    Removes the units, an unedited configuration, and the files of the service, `kiosk calibrate` and
    `models install` in the state folder.

    Args:
        paths: Where it is installed.
        run: Runs a command, see `install.run_command`.
        purge: Also remove an edited configuration.

    Returns:
        What was removed, and what was left and why, one line each.

    Raises:
        SinkError: A kiosk is still running, or a file cannot be removed.
    """
    ours = _is_ours(paths.unit)
    if ours and systemd_runs(paths):
        run(["systemctl", "disable", "--now", NAME])
    _check_unused(paths)
    done = [*_remove_unit(paths, ours=ours), *_remove_config(paths, purge=purge), *_remove_state(paths)]
    if ours and systemd_runs(paths):
        run(["systemctl", "daemon-reload"])
    return done or ["nothing was installed"]


def _is_ours(unit: Path) -> bool:
    return unit.is_file() and attempt(unit, unit.read_bytes).startswith(MARK.encode())


def _check_unused(paths: InstallPaths) -> None:
    """Check that no kiosk that was started by hand uses the state folder.

    Raises:
        SinkError: One does.
    """
    path = paths.state / LOCK
    if not path.is_file():
        return
    lock = FileLock(path)
    free = attempt(path, lock.acquire)
    lock.close()
    if not free:
        raise SinkError(f"{paths.state}: in use by a kiosk that is still running; stop it first")


def _remove_unit(paths: InstallPaths, *, ours: bool) -> Iterator[str]:
    if ours:
        yield _remove(paths.unit)
    elif paths.unit.exists():
        yield f"left {paths.unit}: not written by `kiosk install`"
    if _is_ours(paths.browser_unit):
        yield _remove(paths.browser_unit)
    drop_ins = paths.unit.with_name(f"{NAME}.d")
    if drop_ins.is_dir():
        yield f"left {drop_ins}: written by an administrator (systemctl edit)"


def _remove_config(paths: InstallPaths, *, purge: bool) -> Iterator[str]:
    folder = paths.config.parent
    if paths.config.is_file():
        if purge or attempt(paths.config, paths.config.read_bytes) == default_text().encode():
            yield _remove(paths.config)
        else:
            yield f"left {paths.config}: edited; `kiosk uninstall --purge` removes it as well"
    others = [path for path in _children(folder) if path != paths.config]
    yield from (f"left {path}: not written by edgeharfer" for path in others)
    if folder.is_dir() and not _children(folder):
        yield _remove_folder(folder)


def _remove_state(paths: InstallPaths) -> Iterator[str]:
    """Remove systemd's state folder and the link to it, or the folder of a kiosk started by hand."""
    for folder in (paths.private_state, paths.state):
        if folder.is_symlink():
            if not folder.exists():  # its target was just removed
                yield _remove(folder)
            elif folder == paths.private_state or folder.resolve() != paths.private_state.resolve():
                yield f"left {folder}: a link to {folder.resolve()}, not made by edgeharfer"
        elif folder.is_dir():
            left = list(_remove_own(folder, folder))
            yield from (f"left {path}: not written by edgeharfer" for path in left)
            if not left:
                yield _remove_folder(folder)


def _remove_own(folder: Path, state: Path) -> Iterator[Path]:
    """Remove edgeharfer's own files below a folder without following links; yields the paths left."""
    own = _owner(folder, state)
    for child in _children(folder):
        if child.is_dir() and not child.is_symlink():
            name = child.relative_to(state).as_posix()
            if not (_FOLDERS.fullmatch(name) or _PACKAGES.fullmatch(name)):
                yield child
                continue
            left = list(_remove_own(child, state))
            yield from left
            if not left:
                attempt(child, child.rmdir)
        elif own(child):
            attempt(child, child.unlink)
        else:
            yield child


def _owner(folder: Path, state: Path) -> Own:
    """A predicate for edgeharfer's own files in a folder."""
    name = "" if folder == state else folder.relative_to(state).as_posix()
    if not _PACKAGES.fullmatch(name):
        return lambda path: _FILES.fullmatch(path.relative_to(state).as_posix()) is not None
    try:
        names = set(file_names(load_package(folder)))
    except ModelError:  # damaged: its other files are unknown
        names = {MANIFEST}
    return lambda path: path.name in names


def _children(folder: Path) -> list[Path]:
    return attempt(folder, lambda: sorted(folder.iterdir())) if folder.is_dir() else []


def _remove(path: Path) -> str:
    attempt(path, path.unlink)
    return f"removed {path}"


def _remove_folder(folder: Path) -> str:
    attempt(folder, folder.rmdir)
    return f"removed {folder}"
