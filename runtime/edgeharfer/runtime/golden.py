"""Golden outputs: the outputs of a package for pictures that every machine can generate.

`golden.json`, next to the manifest, holds frame numbers of the demo instead of pixels, and the outputs on the
machine that made the package. Different outputs on another machine reveal faults that no hash detects, such
as those of another ONNX Runtime version or processor. Before a device uses INT8 by default for the first
time, its outputs are compared once; the result is kept in the user's cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import EdgeharferError, ModelError
from edgeharfer.runtime.inference.backend import AUTO, CPU, Backend
from edgeharfer.runtime.inference.device_record import device_info, read_record, write_record
from edgeharfer.runtime.inference.manifest import CPU_WITHOUT_VNNI
from edgeharfer.runtime.inference.package import Package, read_regular_file
from edgeharfer.runtime.inference.processor import SATURATING, products_saturate
from edgeharfer.runtime.inference.tensorrt import cache_root
from edgeharfer.runtime.inference.tuning import package_key, resolve_backend, running_provider
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.strict_json import load_json
from edgeharfer.runtime.tasks import open_model
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.pictures import PictureModel
from edgeharfer.runtime.types import Floats, Image

GOLDEN = "golden.json"
"""Optional: {"frames": [0, ...], "precision": "fp32", "probs": [[...]], "tolerance": 0.02, "int8": [[...]]}.

"int8" has the outputs in INT8, "probs" those in "precision"."""
FRAMES = (0, 40, 80, 120)
"""Frame numbers of the demo."""
TOLERANCE = 0.02
"""Maximum difference of a probability. INT8 results vary more between processors than FP32 results."""
FORMAT = 1
_MAX_TEXT = 1 << 20

Outputs = NDArray[np.float32]

_log = logging.getLogger(__name__)


@cache
def golden_frames() -> tuple[Image, ...]:
    """The inputs: frames of the demo, which are the same on every machine."""
    with DemoSource(SystemClock()) as source:
        return tuple(source.picture(number) for number in FRAMES)


def make_classifier(package: Package, precision: str = "auto") -> Callable[[Sequence[Image]], Outputs]:
    """A function from pictures to the outputs of the model on the CPU, (n, outputs).

    An action model returns one row for all pictures, (1, outputs).
    """
    model = open_model(package, replace(CPU, precision=precision))
    if isinstance(model, PictureModel):
        return model.classify
    assert isinstance(model, ActionModel), "all other models read clips"

    def classify(frames: Sequence[Image]) -> Floats:
        model.reset()
        features = [model.encode(frame) for frame in frames]
        repeated = [
            features[index * len(features) // model.window.frames] for index in range(model.window.frames)
        ]
        if (rolling := model.rolling()) is None:
            return model.classify(np.stack(repeated)[None])[None]
        return model.probs([rolling.push(step) for step in repeated][-1])

    return classify


def read_golden(package: Package) -> Mapping[str, Any] | None:
    """Read `golden.json`; None if the package has none.

    Raises:
        ModelError: It is invalid.
    """
    path = package.path / GOLDEN
    if not path.exists():
        return None
    golden = load_json(read_regular_file(path, _MAX_TEXT), str(path))
    if not isinstance(golden, dict) or "probs" not in golden:
        raise ModelError(f"{path}: missing key 'probs'")
    if golden.get("frames", list(FRAMES)) != list(FRAMES):
        raise ModelError(f"{path}: frames must be {list(FRAMES)}; export the package again")
    return golden


def largest_difference(rows: object, outputs: Outputs, where: Path) -> float:
    """Return the largest difference of outputs from the rows of a golden file; infinite for other shapes.

    Raises:
        ModelError: The rows are not numbers.
    """
    try:
        expected = np.asarray(rows, np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(f"{where}: {error}") from error
    if expected.shape != outputs.shape:
        return float("inf")
    difference = float(np.abs(expected - outputs).max())
    return difference if np.isfinite(difference) else float("inf")


def checked_backend(package: Package, backend: Backend) -> Backend:
    """Return the backend to open a package with: FP32 if INT8 is the default but is wrong on this device.

    An explicit precision is not checked, and only ONNX Runtime's CPU provider is: the outputs of others are
    compared with it by `edgeharfer tune`, or when an engine is built.
    """
    if backend.precision != AUTO:
        return backend
    wanted = resolve_backend(package, backend)
    on_cpu = running_provider(wanted) == "cpu"
    if wanted.precision != "int8" or not on_cpu or "fp32" not in package.manifest.files:
        return backend
    known = int8_difference(package)
    if known <= TOLERANCE:
        return backend
    _log.warning(
        "%s: INT8 on this device differs by %.2f from the machine that made the package: using FP32",
        package.manifest.name,
        known,
    )
    return replace(backend, precision="fp32")


def precision_reason(package: Package, precision: str) -> str | None:
    """Return why a precision is the default on this device instead of INT8; None if there is no reason."""
    if precision == "int8" or "int8" not in package.manifest.files:
        return None
    if package.manifest.auto.get("cpu") == "int8" and CPU_WITHOUT_VNNI in package.manifest.auto:
        return f"{SATURATING}, so its INT8 graphs are not used" if products_saturate() else None
    return None


def int8_difference(package: Package) -> float:
    """Return how far INT8 on the CPU is from the golden outputs; measured once for a device and package."""
    key = package_key(package)
    known = _record().get(key)
    if known is None:
        known = _difference(package)
        _remember(key, known)
    return known


def _difference(package: Package) -> float:
    """Compare INT8 with the golden outputs; 0 if there are none to compare with."""
    try:
        golden = read_golden(package)
        if golden is None or "int8" not in golden:
            return 0.0
        outputs = make_classifier(package, "int8")(golden_frames())
        return largest_difference(golden["int8"], outputs, package.path / GOLDEN)
    except EdgeharferError as error:  # The model is opened next, and reports what is wrong.
        _log.info("%s: golden outputs not compared: %s", package.manifest.name, error)
        return 0.0


def record_path() -> Path:
    """Return the path of the record of compared packages."""
    return cache_root().parent / "compared.json"


def _record() -> dict[str, float]:
    """Read the record, if it is valid and of this device."""
    compared = read_record(record_path(), "differences", FORMAT, _device())
    return {key: float(value) for key, value in compared.items() if isinstance(value, int | float)}


def _remember(key: str, difference: float) -> None:
    path = record_path()
    differences = {**_record(), key: min(difference, 1e9)}
    try:
        write_record(path, "differences", FORMAT, _device(), differences)
    except OSError as error:
        _log.info("%s: cannot be written, so INT8 is compared at each start: %s", path, error.strerror)


def _device() -> dict[str, object]:
    return {**device_info(), "products_saturate": products_saturate()}
