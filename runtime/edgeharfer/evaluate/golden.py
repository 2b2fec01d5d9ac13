"""Write the golden outputs of a package, and compare a package with its own, see `runtime.golden`."""

from __future__ import annotations

import json

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.golden import (
    FRAMES,
    GOLDEN,
    TOLERANCE,
    golden_frames,
    largest_difference,
    make_classifier,
    read_golden,
)
from edgeharfer.runtime.inference.manifest import CPU_WITHOUT_VNNI
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.processor import products_saturate

_DIGITS = 6


def write_golden(package: Package) -> None:
    """Write the outputs on this machine, in the precision that varies least between machines and in INT8.

    INT8 is left out if its products saturate here, since other machines differ rightly then.
    """
    files = package.manifest.files
    precision = min(files, key=("fp32", "fp16", "int8").index)
    content: dict[str, object] = {
        "frames": FRAMES,
        "precision": precision,
        "probs": _rows(package, precision),
        "tolerance": TOLERANCE,
    }
    if "int8" in files and not (CPU_WITHOUT_VNNI in package.manifest.auto and products_saturate()):
        content["int8"] = _rows(package, "int8")
    text = json.dumps(content, allow_nan=False) + "\n"
    (package.path / GOLDEN).write_text(text, encoding="ascii")


def _rows(package: Package, precision: str) -> list[list[float]]:
    outputs = make_classifier(package, precision)(golden_frames())
    return [[round(float(value), _DIGITS) for value in row] for row in outputs]


def check_golden(package: Package) -> None:
    """Compare the outputs of a package with its `golden.json`, if it has one.

    Raises:
        ModelError: The outputs differ, or `golden.json` is invalid.
    """
    golden, path = read_golden(package), package.path / GOLDEN
    if golden is None:
        return
    try:
        tolerance = float(golden.get("tolerance", TOLERANCE))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    outputs = make_classifier(package, str(golden.get("precision", "auto")))(golden_frames())
    if not largest_difference(golden["probs"], outputs, path) <= tolerance:
        raise ModelError(
            f"{path}: the outputs of the package differ from those on the machine that made it; not installed"
        )
