"""Golden outputs: the outputs of a package for pictures that every machine can generate.

`golden.json`, next to the manifest, holds frame numbers of the demo instead of pixels, and the outputs on the
machine that made the package. Different outputs on another machine reveal faults that no hash detects, such
as those of another ONNX Runtime version or processor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import CPU
from edgeharfer.runtime.inference.package import Package, read_regular_file
from edgeharfer.runtime.source.demo import DemoSource
from edgeharfer.runtime.strict_json import load_json
from edgeharfer.runtime.tasks import open_model
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.pictures import PictureModel
from edgeharfer.runtime.types import Floats, Image

GOLDEN = "golden.json"
"""Optional: {"frames": [0, ...], "precision": "fp32", "probs": [[...]], "tolerance": 0.02}."""
FRAMES = (0, 40, 80, 120)
"""Frame numbers of the demo."""
TOLERANCE = 0.02
"""Maximum difference of a probability. INT8 results vary more between processors than FP32 results."""
_DIGITS = 6
_MAX_TEXT = 1 << 20

Outputs = NDArray[np.float32]


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
        features = [model.encode(frame) for frame in frames]
        repeated = [
            features[index * len(features) // model.window.frames] for index in range(model.window.frames)
        ]
        if (rolling := model.rolling()) is None:
            return model.classify(np.stack(repeated)[None])[None]
        return model.probs([rolling.push(step) for step in repeated][-1])

    return classify


def write_golden(package: Package) -> None:
    """Write the outputs on this machine, in the precision that varies least between machines."""
    precision = min(package.manifest.files, key=("fp32", "fp16", "int8").index)
    probs = make_classifier(package, precision)(golden_frames())
    content = {
        "frames": FRAMES,
        "precision": precision,
        "probs": [[round(float(value), _DIGITS) for value in row] for row in probs],
        "tolerance": TOLERANCE,
    }
    text = json.dumps(content, allow_nan=False) + "\n"
    (package.path / GOLDEN).write_text(text, encoding="ascii")


def check_golden(package: Package) -> None:
    """Compare the outputs of a package with its `golden.json`, if it has one.

    Raises:
        ModelError: The outputs differ, or `golden.json` is invalid.
    """
    path = package.path / GOLDEN
    if not path.exists():
        return
    golden = load_json(read_regular_file(path, _MAX_TEXT), str(path))
    if not isinstance(golden, dict) or "probs" not in golden:
        raise ModelError(f"{path}: missing key 'probs'")
    if golden.get("frames", list(FRAMES)) != list(FRAMES):
        raise ModelError(f"{path}: frames must be {list(FRAMES)}; export the package again")
    try:
        expected = np.asarray(golden["probs"], np.float32)
        tolerance = float(golden.get("tolerance", TOLERANCE))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    probs = make_classifier(package, str(golden.get("precision", "auto")))(golden_frames())
    if expected.shape != probs.shape or not np.abs(expected - probs).max() <= tolerance:
        raise ModelError(
            f"{path}: the outputs of the package differ from those on the machine that made it; not installed"
        )
