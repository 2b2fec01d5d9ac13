"""The taught head as an ONNX graph, written without the onnx package.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. The graph has only
operators that have not changed since opset 9, so it can take the opset of the encoder beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.inference.protobuf import BYTES, VARINT
from edgeharfer.runtime.types import Floats
from edgeharfer.teach.head import LinearHead
from edgeharfer.teach.windows import PARTS

_IR_VERSION = 8
_FLOAT = 1
_ATTRIBUTE_INT = 2
_BATCH = "batch"


def head_graph(head: LinearHead, window: WindowSpec, opset: int) -> Graph:
    """Return the graph of a head: windows (batch, frames, size) to scores (batch, classes).

    It computes what `describe` and `LinearHead.scores` compute.
    """
    size, classes = head.kernel.shape[0] // PARTS, head.kernel.shape[1]
    frames = window.frames
    average = np.full((1, frames), 1 / frames, np.float32)
    step = np.eye(frames, dtype=np.float32)[1:] - np.eye(frames, dtype=np.float32)[:-1]
    nodes = [
        _node("MatMul", ["average", "window"], "mean"),
        _node("MatMul", ["step", "window"], "steps"),
        _node("Abs", ["steps"], "absolute"),
        _node("MatMul", ["average_step", "absolute"], "change"),
        _node("Sub", ["window", "mean"], "centred"),
        _node("Mul", ["centred", "centred"], "squared"),
        _node("MatMul", ["average", "squared"], "variance"),
        _node("Sqrt", ["variance"], "deviation"),
        _node("Concat", ["mean", "change", "deviation"], "parts", axis=2),
        _node("Flatten", ["parts"], "described", axis=1),
        _node("MatMul", ["described", "kernel"], "weighted"),
        _node("Add", ["weighted", "bias"], "scores"),
    ]
    weights = {
        "average": average,
        "average_step": np.full((1, frames - 1), 1 / (frames - 1), np.float32),
        "step": step,
        "kernel": head.kernel,
        "bias": head.bias,
    }
    graph = b"".join([
        *(_message(1, node) for node in nodes),
        _text(2, "taught"),
        *(_message(5, _tensor(name, value)) for name, value in weights.items()),
        _message(11, _value("window", [_BATCH, frames, size])),
        _message(12, _value("scores", [_BATCH, classes])),
    ])  # fmt: skip
    model = _integer(1, _IR_VERSION) + _text(2, "edgeharfer") + _message(7, graph)
    return Graph.scan(model + _message(8, _text(1, "") + _integer(2, opset)), "head")


def _node(kind: str, inputs: Sequence[str], output: str, axis: int | None = None) -> bytes:
    """Serialize a NodeProto with at most one attribute, `axis`."""
    node = b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(3, output) + _text(4, kind)
    if axis is None:
        return node
    return node + _message(5, _text(1, "axis") + _integer(3, axis) + _integer(20, _ATTRIBUTE_INT))


def _tensor(name: str, value: Floats) -> bytes:
    """Serialize a TensorProto of float32."""
    shape = b"".join(_integer(1, size) for size in value.shape)
    raw = np.ascontiguousarray(value, "<f4").tobytes()
    return shape + _integer(2, _FLOAT) + _text(8, name) + _message(9, raw)


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    """Serialize a ValueInfoProto of float32; a free axis is its name."""
    sizes = [_text(2, size) if isinstance(size, str) else _integer(1, size) for size in shape]
    kind = _integer(1, _FLOAT) + _message(2, b"".join(_message(1, size) for size in sizes))
    return _text(1, name) + _message(2, _message(1, kind))


def _varint(value: int) -> bytes:
    """Encode an integer that is not negative (https://protobuf.dev/programming-guides/encoding)."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3 | VARINT) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | BYTES) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
