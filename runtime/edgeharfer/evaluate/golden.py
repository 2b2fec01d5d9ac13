"""Golden answers: what a package says of pictures that every machine can draw for itself.

`golden.json` beside the manifest holds the numbers of the demo's pictures, never their pixels, and the
answers of the machine that made the package. One that answers otherwise elsewhere is wrong in a way that no
hash can tell: another ONNX Runtime, another processor, a graph that is read differently.
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
"""Numbers of the demo's pictures."""
TOLERANCE = 0.02
"""Of a probability. Processors round INT8 sums differently, those of FP32 hardly."""
_DIGITS = 6
_MAX_TEXT = 1 << 20

Answers = NDArray[np.float32]


@cache
def golden_frames() -> tuple[Image, ...]:
    """The inputs: pictures of the demo, the same on every machine."""
    with DemoSource(SystemClock()) as source:
        return tuple(source.picture(number) for number in FRAMES)


def answerer(package: Package, precision: str = "auto") -> Callable[[Sequence[Image]], Answers]:
    """Pictures to probabilities or values, (1 or n, outputs), by the model alone, on the CPU."""
    model = open_model(package, replace(CPU, precision=precision))
    if isinstance(model, PictureModel):
        return model.classify
    assert isinstance(model, ActionModel), "what reads no pictures reads clips"

    def classify(frames: Sequence[Image]) -> Floats:
        features = [model.encode(frame) for frame in frames]
        repeated = [
            features[index * len(features) // model.window.frames] for index in range(model.window.frames)
        ]
        if (rolling := model.rolling()) is None:
            return model.classify(np.stack(repeated)[None])[None]
        return model.probs([rolling.push(one) for one in repeated][-1])

    return classify


def write_golden(package: Package) -> None:
    """Write the answers that this package gives here, in the precision that differs least elsewhere."""
    precision = min(package.manifest.files, key=("fp32", "fp16", "int8").index)
    probs = answerer(package, precision)(golden_frames())
    content = {
        "frames": FRAMES,
        "precision": precision,
        "probs": [[round(float(value), _DIGITS) for value in row] for row in probs],
        "tolerance": TOLERANCE,
    }
    text = json.dumps(content, allow_nan=False) + "\n"
    (package.path / GOLDEN).write_text(text, encoding="ascii")


def check_golden(package: Package) -> None:
    """Raises ModelError where a package answers otherwise than its `golden.json`; without one all is well."""
    path = package.path / GOLDEN
    if not path.exists():
        return
    golden = load_json(read_regular_file(path, _MAX_TEXT), str(path))
    if not isinstance(golden, dict) or "probs" not in golden:
        raise ModelError(f"{path}: must hold the key probs")
    if golden.get("frames", list(FRAMES)) != list(FRAMES):
        raise ModelError(f"{path}: asks for other pictures than {FRAMES}; export the package again")
    try:
        wanted = np.asarray(golden["probs"], np.float32)
        tolerance = float(golden.get("tolerance", TOLERANCE))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    probs = answerer(package, str(golden.get("precision", "auto")))(golden_frames())
    if wanted.shape != probs.shape or not np.abs(wanted - probs).max() <= tolerance:
        raise ModelError(f"{path}: the package answers otherwise here than where it was made; not installed")
