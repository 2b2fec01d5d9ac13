"""Check the installation and the machine, and give a fix for every problem."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeharfer.runtime.doctor.finding import Finding
from edgeharfer.runtime.doctor.libraries import check_extras, check_libraries
from edgeharfer.runtime.doctor.nvidia import gpu_advice
from edgeharfer.runtime.doctor.trials import run_trials
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.manifest import CPU_WITHOUT_VNNI
from edgeharfer.runtime.inference.package import shipped_packages, verify_package
from edgeharfer.runtime.inference.processor import SATURATING, instruction_set, products_saturate
from edgeharfer.runtime.inference.providers import PROVIDERS, probe_providers
from edgeharfer.runtime.installation import adapt_install_commands

if TYPE_CHECKING:
    from edgeharfer.runtime.source.cameras import Camera

__all__ = ["Finding", "check_precisions", "run_checks"]


def run_checks(root: Path = Path("/"), *, full: bool = False) -> Iterator[Finding]:
    """Run all checks; whatever is reported as ok has actually been used.

    Opens no window, and opens cameras only on systems that do not list them (macOS, Windows).

    Args:
        root: Folder in place of /, where cameras and GPU are looked up.
        full: Also import the extras that are slow to import (TensorFlow, MediaPipe).

    Yields:
        The results in the order of the report.
    """
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding("system", True, f"{machine}, Python {platform.python_version()}")
    libraries = list(check_libraries())
    yield from libraries
    yield from _providers(root)
    yield from check_precisions()
    yield from _packages()
    if all(finding.ok is not False for finding in libraries):
        yield _display()
        yield _cameras(root)
        yield _gstreamer()
        yield from run_trials()
    yield from check_extras(full=full)


def _providers(root: Path) -> Iterator[Finding]:
    try:
        reasons = probe_providers()
    except EdgeharferError as error:
        yield Finding("provider", False, str(error))
        return
    for name, reason in reasons.items():
        if reason is None:
            yield Finding("provider", True, f"{name} loads and runs a model{_when_used(name)}")
        else:
            yield Finding("provider", None, f"{name} does not load", reason)
    yield _gpu(root, loads=reasons.get("cuda", "") is None)


def _when_used(provider: str) -> str:
    if PROVIDERS[Backend.parse(provider).provider].automatic:
        return ""
    return "; used for the graphs that `edgeharfer tune` finds faster on it, or if requested"


def check_precisions() -> Iterator[Finding]:
    """Say whether 8-bit products are exact here, and which packages use FP32 because they are not."""
    try:
        saturate = products_saturate()
    except EdgeharferError:
        return  # Reported with the providers.
    if not saturate:
        yield Finding("int8", True, f"{instruction_set()}: 8-bit products are exact")
        return
    floats = [one.manifest.name for one in shipped_packages() if CPU_WITHOUT_VNNI in one.manifest.auto]
    which = f"{', '.join(floats)} in FP32, all others in INT8" if floats else "all packages are made for that"
    yield Finding("int8", True, f"{instruction_set()}: {SATURATING}: {which}")


def _gpu(root: Path, *, loads: bool) -> Finding:
    advice = gpu_advice(root)
    if advice is None:
        message = "in use" if loads else "no NVIDIA driver or Jetson found"
        return Finding("gpu", True if loads else None, message)
    message = f"{advice.name}: {advice.includes}"
    if loads:
        return Finding("gpu", True, message)
    return Finding("gpu", None, message, adapt_install_commands(advice.instructions))


def _packages() -> Iterator[Finding]:
    for package in shipped_packages():
        name = package.manifest.name
        try:
            verify_package(name)
        except EdgeharferError as error:
            fix = "restore its files, or reinstall edgeharfer"
            yield Finding("package", False, f"{name} is damaged: {error}", fix)
        else:
            yield Finding("package", True, f"{name} is intact")


def _display() -> Finding:
    from edgeharfer.runtime.sinks.display import window_unavailable_reason

    lack = window_unavailable_reason()
    if lack is not None:
        return Finding("display", None, "no window can open", lack)
    if sys.platform.startswith("linux"):
        return Finding("display", True, "the display accepts a connection")
    return Finding("display", True, "should work on this system", verified=False)


def _cameras(root: Path) -> Finding:
    from edgeharfer.runtime.source.cameras import find_cameras

    cameras = find_cameras(root)
    if not cameras:
        return Finding("camera", None, "none found", "plug one in, or try: edgeharfer run --source demo")
    denied = [camera.name for camera in cameras if not _accessible(root, camera)]
    if denied:
        return Finding(
            "camera", False, f"no access to {', '.join(denied)}", "sudo usermod -aG video $USER, log in again"
        )
    names = ", ".join(f"{camera.name} ({camera.path})" for camera in cameras)
    return Finding("camera", True, names, verified=False)


def _gstreamer() -> Finding:
    from edgeharfer.runtime.source.gstreamer import has_gstreamer

    if has_gstreamer():
        return Finding("gstreamer", True, "available in OpenCV: --source gstreamer:PIPELINE", verified=False)
    message = "OpenCV was built without it; only cameras on a ribbon cable (CSI) need it"
    return Finding("gstreamer", None, message, "build OpenCV with GStreamer, see docs/deploy/jetson.md")


def _accessible(root: Path, camera: Camera) -> bool:
    device = root / camera.path.removeprefix("/")
    return not camera.path.startswith("/") or os.access(device, os.R_OK | os.W_OK)
