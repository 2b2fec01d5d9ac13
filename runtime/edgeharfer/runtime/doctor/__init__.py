"""What works on this machine, and for each lack the line that mends it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgeharfer.runtime.doctor.nvidia import advice
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.package import shipped_packages, verify_package
from edgeharfer.runtime.session import probe_providers
from edgeharfer.runtime.sinks import window_lack
from edgeharfer.runtime.source.cameras import Camera, find_cameras
from edgeharfer.runtime.versions import all_installed

LIBRARIES = (
    "edgeharfer",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "onnxruntime",
    "onnxruntime-gpu",
    "click",
)
EXTRAS = {
    "mediapipe": ("mediapipe",),
    "export": ("tensorflow", "tf2onnx", "onnx", "onnxslim", "onnxconverter_common"),
    "train": ("keras", "sklearn", "matplotlib"),
    "report": ("matplotlib", "pypdf", "reportlab"),
    "kiosk": ("paho", "prometheus_client"),
}
"""Extra -> the modules that it brings."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ok: works; None: absent, and only missed by who needs it. mend: what to do."""

    topic: str
    ok: bool | None
    what: str
    mend: str = ""


def examine(root: Path = Path("/")) -> Iterator[Finding]:
    """Look at everything, cheap things first. Opens no window, and a camera only where none are listed.

    root: the folder that stands for /, where the machine is asked about its cameras and GPU.
    """
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield Finding("system", True, f"{machine}, Python {platform.python_version()}")
    yield from _libraries()
    yield from _providers(root)
    yield from _packages()
    yield _display()
    yield _cameras(root)
    yield from _extras()


def _libraries() -> Iterator[Finding]:
    found = all_installed(LIBRARIES)
    yield Finding("versions", True, ", ".join(f"{name} {number}" for name, number in found.items()))
    for one, other in (("onnxruntime", "onnxruntime-gpu"), ("opencv-python", "opencv-python-headless")):
        if one in found and other in found:
            yield Finding("versions", False, f"{one} and {other} overwrite each other",
                          f"pip uninstall {one} {other}, then install one of them")  # fmt: skip


def _providers(root: Path) -> Iterator[Finding]:
    try:
        reasons = probe_providers()
    except EdgeharferError as error:
        yield Finding("provider", False, "ONNX Runtime is not there", str(error))
        reasons = {}
    for name, reason in reasons.items():
        if reason is None:
            yield Finding("provider", True, f"{name} loads")
        else:
            yield Finding("provider", None, f"{name} does not load", reason)
    yield _gpu(root, loads=reasons.get("cuda", "") is None)


def _gpu(root: Path, *, loads: bool) -> Finding:
    found = advice(root)
    if found is None:
        return Finding("gpu", True if loads else None, "in use" if loads else "no NVIDIA driver, no Jetson")
    what = f"{found.name}: {found.comes_with}"
    return Finding("gpu", True, what) if loads else Finding("gpu", None, what, found.line)


def _packages() -> Iterator[Finding]:
    for package in shipped_packages():
        name = package.manifest.name
        try:
            verify_package(name)
        except EdgeharferError as error:
            yield Finding("package", False, f"{name} is damaged: {error}", "install edgeharfer again")
        else:
            yield Finding("package", True, f"{name} is whole")


def _display() -> Finding:
    lack = window_lack()
    if lack is None:
        return Finding("display", True, "a window can open")
    return Finding("display", None, "no window can open", lack)


def _cameras(root: Path) -> Finding:
    cameras = find_cameras(root)
    if not cameras:
        return Finding("camera", None, "none found", "plug one in, or try: edgeharfer run --source demo")
    closed = [camera.name for camera in cameras if not _accessible(root, camera)]
    if closed:
        return Finding(
            "camera", False, f"no access to {', '.join(closed)}", "sudo usermod -aG video $USER, log in again"
        )
    return Finding("camera", True, ", ".join(f"{camera.name} ({camera.path})" for camera in cameras))


def _accessible(root: Path, camera: Camera) -> bool:
    device = root / camera.path.removeprefix("/")
    return not camera.path.startswith("/") or os.access(device, os.R_OK | os.W_OK)


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        if missing:
            yield Finding(
                "extra", None, f"{extra} lacks {', '.join(missing)}", f"pip install 'edgeharfer[{extra}]'"
            )
        else:
            yield Finding("extra", True, f"{extra} is installed")
