"""Model updates of a running kiosk: verify, try out, and switch or roll back by an atomic rename.

STATE/models/<task>/<name>-<hash>/     packages; the current and the previous one are kept
STATE/models/<task>/current            link to the current package; without it the configured one is used
STATE/models/<task>/previous           link to the previous package
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeharfer.evaluate.golden import check_golden
from edgeharfer.evaluate.trial import run_trial
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.golden import GOLDEN, Outputs, golden_frames, make_classifier
from edgeharfer.runtime.inference.manifest import MAX_MODEL_BYTES
from edgeharfer.runtime.inference.package import (
    MANIFEST,
    Package,
    load_package,
    read_regular_file,
    verify_package,
)
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
MAX_SLOWDOWN = 1.5
SLACK_MS = 5.0


@dataclass(frozen=True, slots=True)
class PackageTrial:
    """The outcome of running a package on the golden inputs.

    Attributes:
        probs: Probabilities, (inputs, classes).
        median_ms: Median time of one inference.
    """

    probs: Outputs
    median_ms: float


@dataclass(frozen=True, slots=True)
class InstalledUpdate:
    """The outcome of `install_package`.

    Attributes:
        task: Task of the package.
        folder: Folder of the installed package.
        previous: Folder of the package that was installed before; None if there was none.
        trial: Trial of the package.
        previous_trial: Trial of the package that it replaces; None if the task was off.
    """

    task: str
    folder: Path
    previous: Path | None
    trial: PackageTrial
    previous_trial: PackageTrial | None


def current_package(state: Path, task: str) -> Path | None:
    """Folder of the installed package; None if the configured one is used."""
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

    The first trial runs in a child process, because a graph may crash or hang. A running service switches
    within seconds. If an error is raised, nothing has changed.

    Args:
        source: Folder of the package.
        state: The state folder.
        replaces: The configured package; "off" for none. The new package must not be much slower than the
            installed one, or this one if none is installed.
        require_signature: Public key file that the package must be signed with.
        clock: The clock.

    Raises:
        ModelError: The package is damaged, gives wrong results or is too slow on this machine.
        SinkError: The state folder cannot be written.
    """
    clock = clock or SystemClock()
    package = verify_package(str(source.resolve()), require_signature=require_signature)
    task = package.manifest.task
    if task not in PACKAGE_TASKS:
        raise ModelError(
            f"{source}: a package for {task}; only those for {' and '.join(PACKAGE_TASKS)} can be installed"
        )
    before = current_package(state, task)
    folder = state / "models" / task / f"{package.manifest.name}-{_digest(package)[:8]}"
    try:
        _copy(package, folder, require_signature)
        run_trial(load_package(folder))
        trial, previous_trial = _try_both(load_package(folder), before or replaces, task, clock)
    except BaseException:  # also when interrupted
        if folder != before and folder.is_dir():
            shutil.rmtree(folder)
        raise
    _switch(state / "models" / task, folder)
    give_to_folder_owner(state / "models", state)  # the service must be able to roll back
    return InstalledUpdate(task, folder, before, trial, previous_trial)


def roll_back(state: Path, task: str) -> Path | None:
    """Switch back to the previous package.

    Returns:
        Its folder; None if there is none, so that the configured package is used.
    """
    task_folder = state / "models" / task
    current, previous = current_package(state, task), task_folder / PREVIOUS
    target = previous.resolve() if previous.is_symlink() and previous.exists() else None
    if target is None or target == current:
        (task_folder / CURRENT).unlink(missing_ok=True)
        sync_folder(task_folder)
        return None
    _link(task_folder / CURRENT, target)
    previous.unlink()
    return target


def try_package(package: Package, clock: Clock) -> PackageTrial:
    """Run a package on the golden inputs, and check and time its results.

    Raises:
        ModelError: The results are not probabilities, not reproducible, or differ from the golden ones.
    """
    answer = make_classifier(package)
    frames = golden_frames()
    probs = answer(frames)
    if not np.isfinite(probs).all() or np.abs(probs.sum(axis=1) - 1).max() > SUM_TOLERANCE or probs.min() < 0:
        raise ModelError(f"{package.path}: the outputs for the golden inputs are not probabilities")
    if not np.allclose(answer(frames), probs, atol=1e-6):
        raise ModelError(f"{package.path}: the outputs differ between runs on the same input")
    check_golden(package)
    return PackageTrial(probs, _median_ms(answer, frames[:1], clock))


def _try_both(
    package: Package, before: Path | str, task: str, clock: Clock
) -> tuple[PackageTrial, PackageTrial | None]:
    trial = try_package(package, clock)
    if before == "off":
        return trial, None
    old = try_package(load_package(before, task), clock)
    limit_ms = MAX_SLOWDOWN * old.median_ms + SLACK_MS
    if trial.median_ms > limit_ms:
        raise ModelError(
            f"{package.manifest.name}: not installed: {trial.median_ms:.1f} ms per inference on this "
            f"machine, where {before} takes {old.median_ms:.1f} ms; the limit is {limit_ms:.1f} ms"
        )
    return trial, old


def _median_ms(answer: Callable[[Sequence[Image]], Outputs], frames: Sequence[Image], clock: Clock) -> float:
    times = []
    for _ in range(RUNS):
        start_s = clock.monotonic()
        answer(frames)
        times.append((clock.monotonic() - start_s) * 1e3)
    return float(np.median(times))


def _copy(package: Package, folder: Path, key: Path | None) -> None:
    """Copy a package to a folder by way of a temporary one, unless it is there, and verify the copy."""
    if folder.is_dir():
        verify_package(folder, require_signature=key)
        return
    try:
        with temporary_folder(folder) as part:
            for name in file_names(package):
                _copy_file(package.path / name, part / name)
            with locked_folder(folder.parent):
                if not folder.is_dir():  # another process may have created it
                    part.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from error
    verify_package(folder, require_signature=key)  # verify what was written


def _digest(package: Package) -> str:
    """SHA-256 of manifest and signature, so that signing a package later changes it."""
    paths = [package.path / name for name in (MANIFEST, SIGNATURE)]
    content = b"".join(read_regular_file(path, MAX_MODEL_BYTES) for path in paths if path.exists())
    return hashlib.sha256(content).hexdigest()


def file_names(package: Package) -> list[str]:
    """Names of the files of a package that are installed: manifest, graphs and accompanying documents."""
    models = [spec.file for files in package.manifest.files.values() for spec in files.values()]
    documents = ("MODELCARD.md", "receipt.json", GOLDEN, SIGNATURE)
    present = [name for name in documents if (package.path / name).is_file()]
    return list(dict.fromkeys([MANIFEST, *models, *package.manifest.other_files, *present]))


def _copy_file(source: Path, target: Path) -> None:
    """Copy a regular file. Links are not followed, because they could point to any file on the machine."""
    data = read_regular_file(source, MAX_MODEL_BYTES)
    with target.open("xb") as write:
        write.write(data)
        write.flush()
        os.fsync(write.fileno())


def _switch(task_folder: Path, folder: Path) -> None:
    """Make a package the current one, keep the previous one, and remove all others."""
    current = task_folder / CURRENT
    before = current.resolve() if current.is_symlink() and current.exists() else None
    if before == folder:
        return
    if before is not None:
        _link(task_folder / PREVIOUS, before)
    _link(current, folder)
    for other in task_folder.iterdir():
        hidden = other.name.startswith(".")  # another process is copying into it
        if other.is_dir() and not other.is_symlink() and not hidden and other not in (folder, before):
            shutil.rmtree(other)


def _link(link: Path, target: Path) -> None:
    """Replace a link atomically."""
    part = temporary_path(link)
    part.symlink_to(target.name)
    part.replace(link)
    sync_folder(link.parent)
