"""The window of an action model, put together on the GPU out of features that never left it.

Between encoder and head nothing then goes through the host but the answer. The features of a frame are one
small array on the device, the ring holds them in place of arrays of its own, and a graph of two nodes stacks
those of a window. It copies and computes nothing, so the result is the host's, bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np

from edgeharfer.runtime.inference.session import Session, make_session
from edgeharfer.runtime.types import Floats

_IR_VERSION, _OPSET = 8, 11  # Opset 11: `axes` of Unsqueeze is still an attribute.
_FLOAT, _INT, _INTS = 1, 2, 7


class Kept(Protocol):
    """An array that lies on the device, as an `OrtValue` of ONNX Runtime."""

    def numpy(self) -> Floats:
        """Bring it to the host."""


Features: TypeAlias = Floats | Kept
"""Of one frame: (size,) on the host, or (1, size) on the device."""


def on_host(features: Features) -> Floats:
    """Features as an array (size,), wherever they lie."""
    return features if isinstance(features, np.ndarray) else np.array(features.numpy()[0])


class DeviceWindow:
    """Stacks the features of `frames` frames on the device.

    stack: a session for the graph of `stack_graph`; None opens it on CUDA.
    """

    def __init__(self, frames: int, stack: Session | None = None) -> None:
        self._stack = stack or make_session(stack_graph(frames), "cuda", 1, name="window")

    def put_together(self, features: Sequence[Kept]) -> Kept:
        """Features (1, size) of a window's frames, in order of time -> (1, frames, size)."""
        kept: Kept = self._stack.keep(dict(zip(self._stack.input_names, features, strict=True)))
        return kept


def stack_graph(frames: int) -> bytes:
    """An ONNX model: `frames` inputs (1, size) -> their stack (1, frames, size)."""
    names = [f"frame{number}" for number in range(frames)]
    along = _text(1, "axis") + _number(3, 0) + _number(20, _INT)
    before = _text(1, "axes") + _number(8, 0) + _number(20, _INTS)
    nodes = (_node("Concat", names, "rows", along), _node("Unsqueeze", ["rows"], "window", before))
    graph = b"".join(_bytes(1, node) for node in nodes) + _text(2, "stack")
    graph += b"".join(_bytes(11, _tensor(name, [1, "size"])) for name in names)
    graph += _bytes(12, _tensor("window", [1, frames, "size"]))
    return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _number(2, _OPSET))


# Field numbers of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto


def _node(kind: str, inputs: Sequence[str], output: str, attribute: bytes) -> bytes:
    return (
        b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, kind) + _bytes(5, attribute)
    )


def _tensor(name: str, shape: Sequence[int | str]) -> bytes:
    axes = (_number(1, axis) if isinstance(axis, int) else _text(2, axis) for axis in shape)
    dims = b"".join(_bytes(1, axis) for axis in axes)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, dims)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _varint(value >> 7)
