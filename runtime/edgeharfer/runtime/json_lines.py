"""A result as the JSON line that `run --events` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from edgeharfer.runtime.tasks import ALWAYS_IN_JSON
from edgeharfer.runtime.types import Reading, Result, TrackedFace

PROBABILITY_STEPS = 10_000  # four decimals


def result_to_dict(result: Result) -> dict[str, Any]:
    """The `result` line of one frame, ready for JSON.

    The tasks of ALWAYS_IN_JSON are always there; other tasks where they have a reading. `file` is there for
    frames of image files.
    """
    return {
        "kind": "result",
        "seq": result.seq,
        "pts_s": round(result.pts_s, 4),
        "age_ms": round(result.age_ms, 2),
        **({"file": result.file} if result.file else {}),
        **_readings("scene", result.readings),
        "faces": [_face(face) for face in result.faces],
    }


def compact_json(content: object) -> str:
    """JSON on one line without spaces. Raises ValueError for NaN and infinity, which JSON has no word for."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def reading_to_dict(reading: Reading) -> dict[str, Any]:
    """`label`, `score` and `probs`, or `values`, or both, ready for JSON; a number that is none is null."""
    told: dict[str, Any] = {}
    if reading.label is not None:
        told["label"] = reading.label
    if reading.score is not None:
        told["score"] = round(float(reading.score), 4)
    if reading.probs is not None:
        told["probs"] = round_probabilities(reading.probs)
    if reading.values is not None:
        told["values"] = {name: _number(value) for name, value in reading.values.items()}
    return told


def round_probabilities(probs: Mapping[str, float]) -> dict[str, float]:
    """Four decimals each, with the same sum as before: the largest remainders are rounded up.

    Rounding each by itself would let the sum drift with the number of labels.
    """
    exact = {label: max(0.0, float(p)) * PROBABILITY_STEPS for label, p in probs.items()}
    steps = {label: int(value) for label, value in exact.items()}
    missing = round(sum(exact.values())) - sum(steps.values())
    for label in sorted(exact, key=lambda name: steps[name] - exact[name])[:missing]:
        steps[label] += 1
    return {label: count / PROBABILITY_STEPS for label, count in steps.items()}


def _readings(scope: str, readings: Mapping[str, Reading]) -> dict[str, Any]:
    absent: dict[str, Any] = dict.fromkeys(ALWAYS_IN_JSON[scope])
    return absent | {name: reading.to_dict() for name, reading in readings.items()}


def _face(face: TrackedFace) -> dict[str, Any]:
    box = face.box
    return {
        "track": face.track,
        "box": [round(box.x), round(box.y), round(box.width), round(box.height)],
        "score": round(float(face.score), 4),
        **_readings("face", face.readings),
    }


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None
