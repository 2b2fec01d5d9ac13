"""New models on a kiosk that runs: checked, tried, switched by one rename, and undone by another.

STATE/models/<task>/<name>-<hash>/     packages; the one in use and the one before are kept
STATE/models/<task>/current            a link to the one in use; without it the configuration's
STATE/models/<task>/previous           a link to the one before
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeharfer.evaluate.golden import GOLDEN, Answers, answerer, check_golden, golden_frames
from edgeharfer.evaluate.trial import try_out
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.manifest import MAX_MODEL_BYTES
from edgeharfer.runtime.inference.package import MANIFEST, Package, load_package, read_regular, verify_package
from edgeharfer.runtime.inference.signature import SIGNATURE
from edgeharfer.runtime.staging import (
    cannot_write,
    give_to_folder_owner,
    locked_folder,
    sync_folder,
    temporary_folder,
    temporary_path,
)
from edgeharfer.runtime.tasks import PACKAGE_TASKS
from edgeharfer.runtime.types import Image

CURRENT, PREVIOUS = "current", "previous"
SUM_TOLERANCE = 1e-3
RUNS = 9
SLOWER_AT_MOST = 1.5
SLACK_MS = 5.0


@dataclass(frozen=True, slots=True)
class PackageTrial:
    """What a package answered to the golden inputs, and how long one answer took."""

    probs: Answers
    median_ms: float


@dataclass(frozen=True, slots=True)
class InstalledUpdate:
    """What `install_package` did."""

    task: str
    folder: Path
    before: Path | None
    trial: PackageTrial
    trial_before: PackageTrial | None


def current_package(state: Path, task: str) -> Path | None:
    """The installed package in use, None where the configuration's is."""
    link = state / "models" / task / CURRENT
    return link.resolve() if link.is_symlink() and link.exists() else None


def install_package(
    source: Path,
    state: Path,
    *,
    replaces: str,
    require_signature: Path | None = None,
    clock: Clock | None = None,
) -> InstalledUpdate:
    """Verify and copy a package, try the copy on the golden inputs, and switch to it.

    It is tried in a child process first: a graph may crash or never end.

    replaces: the package that is used where none was installed yet; the new one may not be much slower.
    require_signature: the file of the public key that it must be signed with.
    A running service follows within seconds. Raises ModelError and leaves everything as it was where the
    package is damaged, answers otherwise than it should, or is too slow here; SinkError for a full disk.
    """
    clock = clock or SystemClock()
    package = verify_package(str(source.resolve()), require_signature=require_signature)
    task = package.manifest.task
    if task not in PACKAGE_TASKS:
        raise ModelError(
            f"{source}: a package for the task {task}; {' and '.join(PACKAGE_TASKS)} can be installed"
        )
    before = current_package(state, task)
    folder = _copy(package, state / "models" / task, require_signature)
    try:
        try_out(load_package(folder))
        trial, trial_before = _try_both(load_package(folder), before or replaces, task, clock)
    except BaseException:  # a stop as well: what was not tried to the end is not kept
        if folder != before:
            shutil.rmtree(folder)
        raise
    _switch(state / "models" / task, folder)
    give_to_folder_owner(state / "models", state)  # the service must be able to roll back
    return InstalledUpdate(task, folder, before, trial, trial_before)


def roll_back(state: Path, task: str) -> Path | None:
    """Return to the package before; the configuration's (None) where there is none, or only the same one."""
    home = state / "models" / task
    bad, previous = current_package(state, task), home / PREVIOUS
    target = previous.resolve() if previous.is_symlink() and previous.exists() else None
    if target is None or target == bad:
        (home / CURRENT).unlink(missing_ok=True)
        sync_folder(home)
        return None
    _link(home / CURRENT, target)
    previous.unlink()
    return target


def try_package(package: Package, clock: Clock) -> PackageTrial:
    """Answers and speed on the golden inputs. Raises ModelError for answers that are none."""
    answer = answerer(package)
    frames = golden_frames()
    probs = answer(frames)
    if not np.isfinite(probs).all() or np.abs(probs.sum(axis=1) - 1).max() > SUM_TOLERANCE or probs.min() < 0:
        raise ModelError(f"{package.path}: its answers to the golden inputs are no probabilities")
    if not np.allclose(answer(frames), probs, atol=1e-6):
        raise ModelError(f"{package.path}: answers the same input differently each time")
    check_golden(package)
    return PackageTrial(probs, _median_ms(answer, frames[:1], clock))


def _try_both(
    package: Package, before: Path | str, task: str, clock: Clock
) -> tuple[PackageTrial, PackageTrial | None]:
    trial = try_package(package, clock)
    if before == "off":
        return trial, None
    old = try_package(load_package(before, task), clock)
    limit_ms = SLOWER_AT_MOST * old.median_ms + SLACK_MS
    if trial.median_ms > limit_ms:
        raise ModelError(
            f"{package.manifest.name}: {trial.median_ms:.1f} ms an answer here, where {before} takes "
            f"{old.median_ms:.1f} ms; at most {limit_ms:.1f} ms are allowed, so it was not installed"
        )
    return trial, old


def _median_ms(answer: Callable[[Sequence[Image]], Answers], frames: Sequence[Image], clock: Clock) -> float:
    times = []
    for _ in range(RUNS):
        start_s = clock.monotonic()
        answer(frames)
        times.append((clock.monotonic() - start_s) * 1e3)
    return float(np.median(times))


def _copy(package: Package, home: Path, key: Path | None) -> Path:
    """The package below `home` under its name and hash; whole before it carries that name."""
    folder = home / f"{package.manifest.name}-{_digest(package)[:8]}"
    if folder.is_dir():
        verify_package(folder, require_signature=key)
        return folder
    try:
        with temporary_folder(folder) as part:
            for name in file_names(package):
                _copy_file(package.path / name, part / name)
            with locked_folder(home):
                if not folder.is_dir():  # another process may have installed it
                    part.rename(folder)
        sync_folder(home)
    except OSError as error:
        raise cannot_write(folder, error) from error
    verify_package(folder, require_signature=key)  # what is used is what was read back
    return folder


def _digest(package: Package) -> str:
    """Of manifest and signature: a package that is signed later is another one."""
    paths = [package.path / name for name in (MANIFEST, SIGNATURE)]
    content = b"".join(read_regular(path, MAX_MODEL_BYTES) for path in paths if path.exists())
    return hashlib.sha256(content).hexdigest()


def file_names(package: Package) -> list[str]:
    """The files of a package that are installed: graphs, manifest, and the papers that are there."""
    models = [spec.file for files in package.manifest.files.values() for spec in files.values()]
    papers = ("MODELCARD.md", "receipt.json", GOLDEN, SIGNATURE)
    beside = [name for name in papers if (package.path / name).is_file()]
    return list(dict.fromkeys([MANIFEST, *models, *package.manifest.other_files, *beside]))


def _copy_file(source: Path, target: Path) -> None:
    """A link in a package could name any file of whoever installs it, so none is followed."""
    data = read_regular(source, MAX_MODEL_BYTES)
    with target.open("xb") as write:
        write.write(data)
        write.flush()
        os.fsync(write.fileno())


def _switch(home: Path, folder: Path) -> None:
    """Make a package the current one, keep the one before, remove all others."""
    current = home / CURRENT
    before = current.resolve() if current.is_symlink() and current.exists() else None
    if before == folder:
        return
    if before is not None:
        _link(home / PREVIOUS, before)
    _link(current, folder)
    for other in home.iterdir():
        hidden = other.name.startswith(".")  # another process copies into it
        if other.is_dir() and not other.is_symlink() and not hidden and other not in (folder, before):
            shutil.rmtree(other)


def _link(link: Path, target: Path) -> None:
    """Point a link elsewhere by one rename: it is the old or the new one at any time."""
    part = temporary_path(link)
    part.symlink_to(target.name)
    part.replace(link)
    sync_folder(link.parent)
