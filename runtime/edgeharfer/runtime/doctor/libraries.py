"""Check versions and imports of the required libraries and of those of each extra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgeharfer.runtime.doctor.finding import Finding
from edgeharfer.runtime.doctor.imports import try_imports
from edgeharfer.runtime.installation import gpu_hint, install_command, pip, quote
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
    "onnxruntime-ep-nv-tensorrt-rtx": "onnxruntime_ep_nv_tensorrt_rtx",
    "onnxruntime-ep-openvino": "onnxruntime_ep_openvino",
    "onnxruntime-ep-webgpu": "onnxruntime_ep_webgpu",
    "opencv-python": "cv2",
    "paho-mqtt": "paho.mqtt.client",
    "pillow": "PIL",
    "pillow-heif": "pillow_heif",
    "prometheus-client": "prometheus_client",
    "reportlab": "reportlab.pdfgen.canvas",
    "scikit-learn": "sklearn",
    "scipy": "scipy.ndimage",
    "tensorboard": "tensorboard.summary",
    "tensorrt-rtx": "tensorrt_rtx",
}
"""Distribution -> module to import, if its name differs."""

HEAVY = ("keras", "mediapipe", "tensorflow", "tf2onnx")
"""Distributions that take five seconds and more to import."""

OPENCV_LIBRARIES = ("libgl1", "libglib2.0-0", "libsm6", "libxext6", "libxcb1")
"""Debian and Ubuntu packages with the libraries that OpenCV's wheels load."""

INTERNAL_EXTRAS = ("audit", "cpu", "dev", "docs", "gpu", "tensorrt-check")
"""Extras for development, and those that only select an ONNX Runtime package."""

_TIMEOUT_S = 60.0
_HEAVY_TIMEOUT_S = 300.0


def check_libraries() -> Iterator[Finding]:
    """Check the libraries that every command needs."""
    if not extras():
        message = "edgeharfer is not installed, so its required versions are unknown"
        yield Finding("versions", None, message, install_command("cpu"))
        return
    needed = [*dependencies(), *dependencies("cpu")]
    reasons = try_imports([import_name(one.name) for one in needed if one.version], _TIMEOUT_S)
    working = [f"edgeharfer {product_version()}"]
    for one in needed:
        if (finding := _problem(one, reasons.get(import_name(one.name)))) is not None:
            yield finding
        else:
            working.append(f"{one.name} {one.version}")
    yield Finding("versions", True, ", ".join(working))
    yield from _conflicts()


def check_extras(*, full: bool) -> Iterator[Finding]:
    """Check each optional extra.

    Args:
        full: Also import distributions that are slow to import.
    """
    wanted = {extra: dependencies(extra) for extra in extras() if extra not in INTERNAL_EXTRAS}
    present = {one.name for needed in wanted.values() for one in needed if one.fits}
    light = sorted(import_name(name) for name in present if name not in HEAVY)
    reasons = try_imports(light, _TIMEOUT_S)
    if full:
        reasons |= try_imports(sorted(present.intersection(HEAVY)), _HEAVY_TIMEOUT_S)
    for extra, needed in wanted.items():
        yield _extra(extra, needed, reasons)


def _extra(extra: str, needed: list[Dependency], reasons: Mapping[str, str | None]) -> Finding:
    if not needed:
        return Finding("extra", None, f"{extra} is not available for this system")
    fix = install_command(extra)
    missing = [one.name for one in needed if one.version is None]
    if missing:
        return Finding("extra", None, f"{extra}: missing {', '.join(missing)}", fix)
    misfits = [one.problem for one in needed if not one.fits]
    if misfits:
        return Finding("extra", False, f"{extra}: {', '.join(misfits)}", fix)
    for one in needed:
        if (reason := reasons.get(import_name(one.name))) is not None:
            return Finding("extra", False, f"{extra}: {one.name} {one.version}: {reason}", fix)
    versions = ", ".join(f"{one.name} {one.version}" for one in needed)
    skipped = [one.name for one in needed if import_name(one.name) not in reasons]
    if skipped:
        message = f"{extra}: {versions}; not imported: {', '.join(skipped)} (--full does)"
        return Finding("extra", True, message, verified=False)
    return Finding("extra", True, f"{extra}: {versions}")


def _problem(one: Dependency, reason: str | None) -> Finding | None:
    """Return what is wrong with a required library, or None."""
    fix = f"{pip('install')} {quote(one.name + one.bounds)}"
    if one.version is None and one.name == "onnxruntime":
        return Finding(
            "versions", False, "ONNX Runtime is not installed", install_command("cpu") + gpu_hint()
        )
    if one.version is None:
        return Finding("versions", False, f"{one.name} is not installed", fix)
    if not one.fits and one.name in ALTERNATIVES["onnxruntime"]:
        # There is no newer GPU build for some drivers and boards: docs/deploy/laptop-gpu.md.
        message = f"{one.problem} for the memory limit to apply while a model is loaded"
        return Finding("versions", None, message, "see SECURITY.md")
    if not one.fits:
        return Finding("versions", False, one.problem, fix)
    if reason is None:
        return None
    if "cannot open shared object file" in reason and import_name(one.name) == "cv2":
        fix = f"sudo apt-get install {' '.join(OPENCV_LIBRARIES)}"
    else:
        fix = f"{pip('install')} --force-reinstall {quote(one.name + one.bounds)}"
    return Finding("versions", False, f"{one.name} {one.version} cannot be imported: {reason}", fix)


def _conflicts() -> Iterator[Finding]:
    for name, twins in ALTERNATIVES.items():
        both = [one for one in (name, *twins) if installed(one) is not None]
        if len(both) > 1:
            fix = f"{pip('uninstall')} {' '.join(both)}, then install one of them"
            yield Finding("versions", False, f"{' and '.join(both)} overwrite each other", fix)


def import_name(name: str) -> str:
    """Return the module to import for a distribution or its twin."""
    original = next((one for one, twins in ALTERNATIVES.items() if name in twins), name)
    return MODULES.get(original, original)
