"""The libraries that edgeharfer needs, and those of its extras: their versions, and whether they import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgeharfer.runtime.doctor.finding import Finding
from edgeharfer.runtime.doctor.imports import try_imports
from edgeharfer.runtime.installation import GPU_HINT, install_command, pip, quote
from edgeharfer.runtime.versions import (
    ALTERNATIVES,
    Dependency,
    dependencies,
    extras,
    installed,
    product_version,
)

MODULES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "cryptography": "cryptography.hazmat.primitives.asymmetric.ed25519",
    "onnxconverter-common": "onnxconverter_common",
    "opencv-python": "cv2",
    "paho-mqtt": "paho.mqtt.client",
    "prometheus-client": "prometheus_client",
    "reportlab": "reportlab.pdfgen.canvas",
    "scikit-learn": "sklearn",
    "scipy": "scipy.ndimage",
    "tensorboard": "tensorboard.summary",
}
"""Distribution -> the module to import, where it is not the name itself."""

HEAVY = ("keras", "mediapipe", "tensorflow", "tf2onnx")
"""Distributions whose import takes five seconds and more."""

OPENCV_LIBRARIES = ("libgl1", "libglib2.0-0", "libsm6", "libxext6", "libxcb1")
"""Packages of Debian and Ubuntu with what OpenCV's wheels load."""

NOT_FOR_USERS = ("audit", "cpu", "dev", "gpu")
"""Extras of development, and those that only choose an ONNX Runtime."""

_TIMEOUT_S = 60.0
_HEAVY_TIMEOUT_S = 300.0


def check_libraries() -> Iterator[Finding]:
    """What every command needs."""
    if not extras():
        what = "edgeharfer is not installed, so the versions that it needs are unknown"
        yield Finding("versions", None, what, install_command("cpu"))
        return
    needed = [*dependencies(), *dependencies("cpu")]
    reasons = try_imports([module_of(one.name) for one in needed if one.version], _TIMEOUT_S)
    works = [f"edgeharfer {product_version()}"]
    for one in needed:
        if (finding := _broken(one, reasons.get(module_of(one.name)))) is not None:
            yield finding
        else:
            works.append(f"{one.name} {one.version}")
    yield Finding("versions", True, ", ".join(works))
    yield from _clashes()


def check_extras(*, full: bool) -> Iterator[Finding]:
    """Each extra that a user may want. full: import what takes long to import as well."""
    wanted = {extra: dependencies(extra) for extra in extras() if extra not in NOT_FOR_USERS}
    present = {one.name for needed in wanted.values() for one in needed if one.fits}
    light = sorted(module_of(name) for name in present if name not in HEAVY)
    reasons = try_imports(light, _TIMEOUT_S)
    if full:
        reasons |= try_imports(sorted(present.intersection(HEAVY)), _HEAVY_TIMEOUT_S)
    for extra, needed in wanted.items():
        yield _extra(extra, needed, reasons)


def _extra(extra: str, needed: list[Dependency], reasons: Mapping[str, str | None]) -> Finding:
    if not needed:
        return Finding("extra", None, f"{extra} is not made for this system")
    fix = install_command(extra)
    missing = [one.name for one in needed if one.version is None]
    if missing:
        return Finding("extra", None, f"{extra} lacks {', '.join(missing)}", fix)
    unfit = [one.problem for one in needed if not one.fits]
    if unfit:
        return Finding("extra", False, f"{extra}: {', '.join(unfit)}", fix)
    for one in needed:
        if (reason := reasons.get(module_of(one.name))) is not None:
            return Finding("extra", False, f"{extra}: {one.name} {one.version}: {reason}", fix)
    versions = ", ".join(f"{one.name} {one.version}" for one in needed)
    waiting = [one.name for one in needed if module_of(one.name) not in reasons]
    if waiting:
        what = f"{extra}: {versions}; not imported: {', '.join(waiting)} (--full does)"
        return Finding("extra", True, what, tried=False)
    return Finding("extra", True, f"{extra}: {versions}")


def _broken(one: Dependency, reason: str | None) -> Finding | None:
    """What is wrong with a library that every command needs, None where nothing is."""
    fix = f"{pip('install')} {quote(one.name + one.bounds)}"
    if one.version is None and one.name == "onnxruntime":
        return Finding("versions", False, "ONNX Runtime is not installed", install_command("cpu") + GPU_HINT)
    if one.version is None:
        return Finding("versions", False, f"{one.name} is not installed", fix)
    if not one.fits and one.name in ALTERNATIVES["onnxruntime"]:
        # Some drivers and boards have no newer GPU build: docs/deploy/laptop-gpu.md.
        what = f"{one.problem} for the memory limit to hold while a model is loaded"
        return Finding("versions", None, what, "see SECURITY.md")
    if not one.fits:
        return Finding("versions", False, one.problem, fix)
    if reason is None:
        return None
    if "cannot open shared object file" in reason and module_of(one.name) == "cv2":
        fix = f"sudo apt-get install {' '.join(OPENCV_LIBRARIES)}"
    else:
        fix = f"{pip('install')} --force-reinstall {quote(one.name + one.bounds)}"
    return Finding("versions", False, f"{one.name} {one.version} cannot be imported: {reason}", fix)


def _clashes() -> Iterator[Finding]:
    for name, twins in ALTERNATIVES.items():
        both = [one for one in (name, *twins) if installed(one) is not None]
        if len(both) > 1:
            fix = f"{pip('uninstall')} {' '.join(both)}, then install one of them"
            yield Finding("versions", False, f"{' and '.join(both)} overwrite each other", fix)


def module_of(name: str) -> str:
    """The module to import for a distribution or its twin."""
    original = next((one for one, twins in ALTERNATIVES.items() if name in twins), name)
    return MODULES.get(original, original)
