"""Compare the forms that TensorRT gets with FP32, and recommend FP16 for it if they agree."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeharfer.export import parity
from edgeharfer.export.package_files import read_receipt, write_metadata
from edgeharfer.export.precision import TOLERANCES
from edgeharfer.export.source import CARD
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.tuning import read_graph
from edgeharfer.runtime.types import Floats

PROVIDER = "tensorrt"
OVERFLOW = "no finite outputs: values inside the graph exceed the range of float16"

Facts = dict[str, object]


def add_tensorrt(folder: Path, inputs: Floats, report: Callable[[str], object] = lambda line: None) -> None:
    """Write to manifest and receipt of a package which precision TensorRT should use, and how exact it is.

    Args:
        folder: The package.
        inputs: Inputs of the whole model.
        report: Called with a line for each step.
    """
    manifest, facts = compare_forms(folder, inputs)
    if facts:
        card = (folder / CARD).read_text(encoding="utf-8")
        write_metadata(folder, manifest, {**read_receipt(folder), "tensorrt": facts}, card)
        report(
            "for tensorrt, largest difference from fp32: " + ", ".join(f"{k} {v}" for k, v in facts.items())
        )


def compare_forms(folder: Path, inputs: Floats) -> tuple[Manifest, Facts]:
    """Compare the FP16 and INT8 forms for TensorRT, computed on the CPU, with the FP32 graphs.

    Returns:
        The manifest, which recommends FP16 for TensorRT if no probability differs by more than its tolerance,
        and for each precision the largest difference, or why there is no such form.
    """
    package = load_package(folder)
    manifest = package.manifest
    if "fp32" not in manifest.files:
        return manifest, {}
    expected = parity.onnx_scores({role: package.read(role) for role in manifest.roles}, inputs)
    facts: Facts = {}
    for precision in [one for one in manifest.precisions if one != "fp32"]:
        try:
            backend = Backend(PROVIDER, precision)
            graphs = {role: read_graph(package, role, backend) for role in manifest.roles}
        except ModelError as error:
            facts[precision] = str(error)
            continue
        figure = parity.difference(parity.onnx_scores(graphs, inputs), expected, manifest.output)
        facts[precision] = figure if math.isfinite(figure) else OVERFLOW
    found = facts.get("fp16")
    if isinstance(found, float) and found <= TOLERANCES["fp16"]:
        manifest = replace(manifest, auto={PROVIDER: "fp16", **manifest.auto})
    return manifest, facts
