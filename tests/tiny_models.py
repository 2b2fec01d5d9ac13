"""Tiny ONNX models and packages for tests, made on the spot. Needs onnx (the dev extra).

Their answers are known by hand, so that a test can say what a stage must give:
- `classifier`: logits = one fixed weight row per class times the picture's mean, plus a bias.
- `encoder`: the mean over the picture of each channel, times fixed weights.
- `head`: the mean over the window of the features, times fixed weights, softmax.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeharfer.export.rolling import rolling_form
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.inference.manifest import (
    CropSpec,
    FileSpec,
    InputSpec,
    Manifest,
    ValueSpec,
    WindowSpec,
)
from edgeharfer.runtime.inference.package import Package, load_package, write_manifest
from edgeharfer.runtime.perception import Perception
from edgeharfer.runtime.schedule import LiveSchedule
from edgeharfer.runtime.tasks.action import ActionModel, ActionTask

OPSET = 17
FER7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
ACTIONS = ("background", "Biking", "Archery")


def to_bytes(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    weights: Mapping[str, NDArray[np.generic]] | None = None,
) -> bytes:
    """A checked float32 model from its nodes."""
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def class_weights(rows: int, classes: int) -> NDArray[np.float32]:
    """Fixed weights, different for each class: row r, class c -> sin(1 + r + 3 c)."""
    r, c = np.mgrid[0:rows, 0:classes]
    return np.asarray(np.sin(1.0 + r + 3.0 * c), np.float32)


def classifier(
    size: int = 16, channels: int = 1, classes: int = 7, *, output: str = "probs", half_weights: bool = False
) -> bytes:
    """image (batch, size, size, channels) -> probs or logits (batch, classes).

    half_weights: the weights lie in the file as float16 behind a Cast.
    """
    weights = class_weights(channels, classes)
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits" if output == "logits" else "scores"]),
    ]
    if half_weights:
        nodes.insert(0, helper.make_node("Cast", ["w16"], ["w"], to=TensorProto.FLOAT))
    if output == "probs":
        nodes.append(helper.make_node("Softmax", ["scores"], ["probs"], axis=-1))
    named: dict[str, NDArray[np.generic]] = (
        {"w16": weights.astype(np.float16)} if half_weights else {"w": weights}
    )
    return to_bytes(nodes, {"image": ["batch", size, size, channels]}, {output: ["batch", classes]}, named)


def endless(size: int = 16, channels: int = 1, classes: int = 7) -> bytes:
    """image (batch, size, size, channels) -> probs (batch, classes), by a Loop whose condition stays true."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("Identity", ["value"], ["value_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("count", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value_out", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["scores"]),
        helper.make_node("Loop", ["", "true", "scores"], ["looped"], body=body),
        helper.make_node("Softmax", ["looped"], ["probs"], axis=-1),
    ]
    weights = {"w": class_weights(channels, classes), "true": np.array(True)}
    return to_bytes(nodes, {"image": ["batch", size, size, channels]}, {"probs": ["batch", classes]}, weights)


def encoder(size: int = 16, channels: int = 3, features: int = 8) -> bytes:
    """image (batch, size, size, channels) -> features (batch, features)."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["features"]),
    ]
    weights = {"w": class_weights(channels, features)}
    return to_bytes(
        nodes, {"image": ["batch", size, size, channels]}, {"features": ["batch", features]}, weights
    )


def head(frames: int = 4, features: int = 8, classes: int = 3) -> bytes:
    """window (batch, frames, features) -> probs (batch, classes)."""
    nodes = [
        helper.make_node("ReduceMean", ["window"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probs"], axis=-1),
    ]
    weights = {"w": class_weights(features, classes)}
    return to_bytes(nodes, {"window": ["batch", frames, features]}, {"probs": ["batch", classes]}, weights)


def lstm_head(
    frames: int = 4,
    features: int = 8,
    classes: int = 3,
    units: int = 5,
    *,
    bias: bool = True,
    output: str = "probs",
    **attributes: Any,
) -> bytes:
    """window (batch, frames, features) -> probs or logits (batch, classes) of the last state of an LSTM."""
    layer = ["steps", "kernel", "recurrent", *(["bias"] if bias else [])]
    nodes = [
        helper.make_node("Transpose", ["window"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", layer, ["", "last"], hidden_size=units, **attributes),
        helper.make_node("Squeeze", ["last", "first"], ["state"]),
        helper.make_node("MatMul", ["state", "w"], ["logits" if output == "logits" else "scores"]),
    ]
    if output == "probs":
        nodes.append(helper.make_node("Softmax", ["scores"], ["probs"], axis=-1))
    weights: dict[str, NDArray[np.generic]] = {
        "kernel": class_weights(4 * units, features)[None] / 2,
        "recurrent": class_weights(4 * units, units)[None] / 3,
        **({"bias": class_weights(1, 8 * units)} if bias else {}),
        "first": np.array([0]),
        "w": class_weights(units, classes) * 3,
    }
    return to_bytes(nodes, {"window": ["batch", frames, features]}, {output: ["batch", classes]}, weights)


def rolling(head: bytes) -> bytes:
    """The same head, a frame at a time."""
    made = rolling_form(onnx.load_from_string(head))
    assert made is not None
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def file_spec(folder: Path, name: str, data: bytes) -> FileSpec:
    """Write a model file and say what it is."""
    (folder / name).write_bytes(data)
    return FileSpec(name, len(data), hashlib.sha256(data).hexdigest())


def emotion_manifest(labels: Sequence[str] = FER7, size: int = 16, **changes: object) -> Manifest:
    """A manifest of a small grey emotion model, without files."""
    manifest = Manifest(
        format=1,
        name="tiny-emotion",
        task="emotion",
        labels=tuple(labels),
        input=InputSpec(size, size, "gray", "unit"),
        output="probs",
        files={},
        opset=OPSET,
        crop=CropSpec("eyes", 1.3, 0.05),
        prior={"data": tuple(1 / len(labels) for _ in labels)},
    )
    return replace(manifest, **changes)  # type: ignore[arg-type]


def emotion_package(folder: Path, *, model: bytes | None = None, **changes: object) -> Package:
    """An emotion package on disk; `changes` replace keys of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = emotion_manifest()
    data = model if model is not None else classifier(classes=len(FER7))
    files = {"fp32": {"model": file_spec(folder, "model.onnx", data)}}
    write_manifest(folder, replace(manifest, **{"files": files, **changes}))  # type: ignore[arg-type]
    return load_package(folder)


def picture_package(folder: Path, task: str, *, size: int = 16, **gives: Any) -> Package:
    """A package for any task that reads cut faces, or whole frames with `reads="frame"`.

    gives: `labels`, or `values` by name and unit, and further keys of the manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = tuple(ValueSpec(name, unit) for name, unit in gives.pop("values", {}).items())
    labels = tuple(gives.pop("labels", ()))
    output = "probs" if labels else "logits"
    model = classifier(size, classes=len(labels or values), output=output)
    manifest = Manifest(
        format=1,
        name=f"tiny-{task}",
        task=task,
        labels=labels,
        values=values,
        input=InputSpec(size, size, "gray", "unit"),
        output="probs" if labels else "values",
        files={"fp32": {"model": file_spec(folder, "model.onnx", model)}},
        opset=OPSET,
        crop=None if gives.get("reads") == "frame" else CropSpec("box", 1.2, 0.0),
    )
    write_manifest(folder, replace(manifest, **gives))
    return load_package(folder)


def action_package(
    folder: Path,
    *,
    labels: Sequence[str] = ACTIONS,
    size: int = 16,
    frames: int = 4,
    seconds: float = 1.0,
    graphs: Mapping[str, bytes] | None = None,
    **changes: Any,
) -> Package:
    """An action package on disk: encoder, head and a window of `frames` over `seconds`.

    graphs: others, by role; `changes` replace keys of its manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    models = {"encoder": encoder(size), "head": head(frames, classes=len(labels)), **(graphs or {})}
    files = {role: file_spec(folder, f"{role}.onnx", model) for role, model in models.items()}
    manifest = Manifest(
        format=1,
        name="tiny-action",
        task="action",
        labels=tuple(labels),
        input=InputSpec(size, size, "rgb", "symmetric"),
        output="probs",
        files={"fp32": files},
        opset=OPSET,
        window=WindowSpec(frames, seconds, 0.5),
    )
    write_manifest(folder, replace(manifest, **changes))
    return load_package(folder)


def action_task(model: ActionModel) -> ActionTask:
    """A task that reads frames with this model."""
    perception = Perception(Mock(spec=Detector), {ActionTask.name: model})
    return ActionTask(model, perception, LiveSchedule(0.1), SystemClock())
