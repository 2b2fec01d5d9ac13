"""The encoder unit: an ONNX model of MobileNetV2 without its classifier, generated without the onnx package.

One FP32 inference of it is the unit of CPU time in the end-to-end benchmark. Its weights are random, since
only its speed matters. Layers as in Sandler et al. 2018 (https://arxiv.org/abs/1801.04381), table 2, width
1.0, with Keras's padding and batch normalisation folded into the convolutions, as in exported models.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgeharfer.runtime.inference.protobuf import BYTES, VARINT

SIDE = 112
FEATURES = 1280
OPSET, _IR_VERSION = 17, 8
_BLOCKS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
"""Expansion, output channels, repeats, and stride of the first repeat."""
_STEM = 32
_FLOAT, _INT, _INTS = 1, 2, 7
"""TensorProto.DataType FLOAT; AttributeProto.AttributeType INT and INTS."""
_SEED = 2018


def encoder_unit(side: int = SIDE) -> bytes:
    """Generate the ONNX model: image float32 (1, side, side, 3) -> features float32 (1, 1280)."""
    graph = _Graph(side)
    graph.add("Transpose", ["image"], "nchw", [_ints("perm", (0, 3, 1, 2))])
    at = graph.conv("nchw", 3, _STEM, kernel=3, stride=2)
    channels = _STEM
    for expansion, width, repeats, first_stride in _BLOCKS:
        for number in range(repeats):
            stride = first_stride if number == 0 else 1
            at, channels = graph.block(at, channels, width, expansion, stride), width
    at = graph.conv(at, channels, FEATURES, kernel=1)
    graph.add("GlobalAveragePool", [at], "pooled")
    graph.add("Flatten", ["pooled"], "features", [_int("axis", 1)])
    return graph.model((1, side, side, 3), (1, FEATURES))


class _Graph:
    """Collects nodes and weights. `side` is the height and width of the input picture."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._rng = np.random.default_rng(_SEED)
        self._nodes: list[bytes] = []
        self._weights: list[bytes] = []
        for name, value in (("zero", 0.0), ("six", 6.0)):
            self._weights.append(_tensor(name, np.array(value, np.float32)))

    def add(self, kind: str, inputs: Iterable[str], output: str, attributes: Iterable[bytes] = ()) -> None:
        """Add a node with one output."""
        fields = [_text(1, name) for name in inputs] + [_text(2, output), _text(4, kind)]
        self._nodes.append(b"".join([*fields, *(_bytes(5, attribute) for attribute in attributes)]))

    def conv(
        self, source: str, old: int, new: int, *, kernel: int, stride: int = 1, groups: int = 1,
        active: bool = True,
    ) -> str:  # fmt: skip
        """Add a convolution with bias and, if active, ReLU6; return the name of its output."""
        number = len(self._nodes)
        name = f"conv_{number}"
        fan_in = old // groups * kernel * kernel
        # He et al. 2015: preserves the variance of activations from layer to layer.
        weight = self._rng.normal(0, np.sqrt(2 / fan_in), (new, old // groups, kernel, kernel))
        self._weights += [
            _tensor(f"{name}.weight", weight.astype(np.float32)),
            _tensor(f"{name}.bias", np.zeros(new, np.float32)),
        ]
        # At stride 2, Keras pads maps of even size only at the bottom and right.
        before = 0 if stride == 2 and self._side % 2 == 0 else kernel // 2
        after = kernel // 2
        self._side = -(-self._side // stride)
        attributes = [
            _ints("kernel_shape", (kernel, kernel)),
            _ints("strides", (stride, stride)),
            _ints("pads", (before, before, after, after)),
            _int("group", groups),
        ]
        self.add("Conv", [source, f"{name}.weight", f"{name}.bias"], name, attributes)
        if not active:
            return name
        self.add("Clip", [name, "zero", "six"], f"{name}.active")
        return f"{name}.active"

    def block(self, source: str, old: int, new: int, expansion: int, stride: int) -> str:
        """Add an inverted residual block; return the name of its output."""
        wide = old * expansion
        at = source if expansion == 1 else self.conv(source, old, wide, kernel=1)
        at = self.conv(at, wide, wide, kernel=3, stride=stride, groups=wide)
        at = self.conv(at, wide, new, kernel=1, active=False)
        if stride != 1 or old != new:
            return at
        self.add("Add", [source, at], f"{at}.sum")
        return f"{at}.sum"

    def model(self, given: tuple[int, ...], result: tuple[int, ...]) -> bytes:
        """Serialise the ModelProto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)."""
        graph = b"".join(
            [
                *(_bytes(1, node) for node in self._nodes),
                _text(2, "encoder_unit"),
                *(_bytes(5, tensor) for tensor in self._weights),
                _bytes(11, _value("image", given)),
                _bytes(12, _value("features", result)),
            ]
        )
        opset = _bytes(8, _text(1, "") + _number(2, OPSET))
        return _number(1, _IR_VERSION) + _bytes(7, graph) + opset


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | VARINT) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | BYTES) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _int(name: str, value: int) -> bytes:
    return _text(1, name) + _number(3, value) + _number(20, _INT)


def _ints(name: str, values: Iterable[int]) -> bytes:
    return _text(1, name) + b"".join(_number(8, value) for value in values) + _number(20, _INTS)


def _tensor(name: str, array: np.typing.NDArray[np.float32]) -> bytes:
    dims = b"".join(_number(1, length) for length in array.shape)
    return dims + _number(2, _FLOAT) + _text(8, name) + _bytes(9, array.astype("<f4").tobytes())


def _value(name: str, shape: Iterable[int]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, length)) for length in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, dims)))
