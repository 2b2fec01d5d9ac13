"""What works on this machine, and for each lack the command that fixes it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeharfer.runtime.doctor.finding import Finding
from edgeharfer.runtime.doctor.libraries import check_extras, check_libraries
from edgeharfer.runtime.doctor.nvidia import advice
from edgeharfer.runtime.doctor.trials import trials
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference.package import shipped_packages, verify_package
from edgeharfer.runtime.inference.providers import probe_providers
from edgeharfer.runtime.installation import for_this_copy

if TYPE_CHECKING:
    from edgeharfer.runtime.source.cameras import Camera

__all__ = ["Finding", "examine"]


def examine(root: Path = Path("/"), *, full: bool = False) -> Iterator[Finding]:
    """Check everything, and use what is reported as ok.

    Opens no window, and a camera only on systems that do not list them (macOS, Windows).

    root: the folder that stands for /, where the machine is asked about its cameras and GPU.
    full: import the extras that take long to import (TensorFlow, MediaPipe) as well.
    """
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding("system", True, f"{machine}, Python {platform.python_version()}")
    libraries = list(check_libraries())
    yield from libraries
    yield from _providers(root)
    yield from _packages()
    if all(finding.ok is not False for finding in libraries):
        yield _display()
        yield _cameras(root)
        yield from trials()
    yield from check_extras(full=full)


def _providers(root: Path) -> Iterator[Finding]:
    try:
        reasons = probe_providers()
    except EdgeharferError as error:
        yield Finding("provider", False, str(error))
        return
    for name, reason in reasons.items():
        if reason is None:
            yield Finding("provider", True, f"{name} loads and runs a model")
        else:
            yield Finding("provider", None, f"{name} does not load", reason)
    yield _gpu(root, loads=reasons.get("cuda", "") is None)


def _gpu(root: Path, *, loads: bool) -> Finding:
    found = advice(root)
    if found is None:
        return Finding("gpu", True if loads else None, "in use" if loads else "no NVIDIA driver, no Jetson")
    what = f"{found.name}: {found.comes_with}"
    return Finding("gpu", True, what) if loads else Finding("gpu", None, what, for_this_copy(found.line))


def _packages() -> Iterator[Finding]:
    for package in shipped_packages():
        name = package.manifest.name
        try:
            verify_package(name)
        except EdgeharferError as error:
            fix = "restore its files, or install edgeharfer again"
            yield Finding("package", False, f"{name} is damaged: {error}", fix)
        else:
            yield Finding("package", True, f"{name} is whole")


def _display() -> Finding:
    from edgeharfer.runtime.sinks.display import window_unavailable_reason

    lack = window_unavailable_reason()
    if lack is not None:
        return Finding("display", None, "no window can open", lack)
    if sys.platform.startswith("linux"):
        return Finding("display", True, "the display accepts a connection")
    return Finding("display", True, "expected on this system", tried=False)


def _cameras(root: Path) -> Finding:
    from edgeharfer.runtime.source.cameras import find_cameras

    cameras = find_cameras(root)
    if not cameras:
        return Finding("camera", None, "none found", "plug one in, or try: edgeharfer run --source demo")
    closed = [camera.name for camera in cameras if not _accessible(root, camera)]
    if closed:
        return Finding(
            "camera", False, f"no access to {', '.join(closed)}", "sudo usermod -aG video $USER, log in again"
        )
    names = ", ".join(f"{camera.name} ({camera.path})" for camera in cameras)
    return Finding("camera", True, names, tried=False)


def _accessible(root: Path, camera: Camera) -> bool:
    device = root / camera.path.removeprefix("/")
    return not camera.path.startswith("/") or os.access(device, os.R_OK | os.W_OK)
