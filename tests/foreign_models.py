"""ONNX models as other tools write them, made on the spot: PyTorch's, CNTK's, and quantized ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FRAMES, FEATURES, UNITS = 5, 6, 4

Array = NDArray[Any]
node = helper.make_node


def weights(*shape: int, seed: int = 0, scale: float = 0.4) -> Array:
    """Normally distributed float32 weights."""
    return np.random.default_rng(seed + len(shape)).normal(0, scale, shape).astype(np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    given: Sequence[int | str],
    result: Sequence[int | str],
    constants: Mapping[str, Array],
    *,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from "input" to "output"."""
    graph = helper.make_graph(
        list(nodes),
        "main_graph",
        [helper.make_tensor_value_info("input", kind, given)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, result)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def cnn(
    batch: int | str = "batch_size",
    channels: int = 3,
    side: int = 16,
    classes: int = 3,
    *,
    opset: int = 17,
    end: Sequence[onnx.NodeProto] = (),
    begin: Sequence[onnx.NodeProto] = (),
    constants: Mapping[str, Array] | None = None,
) -> onnx.ModelProto:
    """A picture classifier, channels first. `begin` leads from "input" to "x", `end` from "y" to "output"."""
    return model(
        [
            *begin,
            node("Conv", ["x" if begin else "input", "w"], ["c"], strides=[3, 3]),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("MatMul", ["f", "k"], ["y" if end else "output"]),
            *end,
        ],
        [batch, channels, side, side],
        [batch, classes],
        {"w": weights(8, channels, 3, 3), "k": weights(8, classes, scale=2.0), **(constants or {})},
        opset=opset,
    )


def cnn_lstm(batch: int | str = 1) -> onnx.ModelProto:
    """A clip classifier as PyTorch exports it: frames in the batch, convolution, LSTM, its last output."""
    fixed = isinstance(batch, int)
    state = ["", "h0", "h0"] if fixed else []
    return model(
        [
            node("Reshape", ["input", "frames"], ["x"]),
            node("Conv", ["x", "w"], ["c"], strides=[3, 3]),
            node("Relu", ["c"], ["r"]),
            node("GlobalAveragePool", ["r"], ["g"]),
            node("Reshape", ["g", "window"], ["z"]),
            node("Transpose", ["z"], ["zt"], perm=[1, 0, 2]),
            node("LSTM", ["zt", "W", "R", "B", *state], ["Y", "Yh", "Yc"], hidden_size=UNITS),
            node("Squeeze", ["Y", "one"], ["ys"]),
            node("Transpose", ["ys"], ["yt"], perm=[1, 0, 2]),
            node("Gather", ["yt", "last"], ["h"], axis=1),
            node("Gemm", ["h", "k", "b"], ["output"], transB=1),
        ],
        [batch, FRAMES, 3, 16, 16],
        [batch, 3],
        {
            "frames": np.array([FRAMES if fixed else -1, 3, 16, 16]),
            "window": np.array([1 if fixed else -1, FRAMES, FEATURES]),
            "w": weights(FEATURES, 3, 3, 3),
            "W": weights(1, 4 * UNITS, FEATURES),
            "R": weights(1, 4 * UNITS, UNITS),
            "B": weights(1, 8 * UNITS),
            **({"h0": np.zeros((1, 1, UNITS), np.float32)} if fixed else {}),
            "one": np.array([1]),
            "last": np.array(-1),
            "k": weights(3, UNITS, scale=2.0),
            "b": weights(3),
        },
    )


def cntk(opset: int = 8) -> onnx.ModelProto:
    """A classifier of grey faces like FER+: opset 8, IR 3, constants among the inputs, own scaling.

    Before opset 7, the operators say that they broadcast, and that they are not trained.
    """
    old: dict[str, Any] = {"broadcast": 1} if opset < 7 else {}
    trained: dict[str, Any] = {"is_test": 1} if opset < 7 else {}
    constants = {
        "Minus": np.array([127.5], np.float32),
        "Divide": np.array([127.5], np.float32),
        "w": weights(4, 1, 3, 3),
        "g": 1 + weights(4, scale=0.1),
        "o": weights(4, seed=1),
        "m": weights(4, seed=2),
        "v": np.linspace(0.5, 2.0, 4, dtype=np.float32),
        "shape": np.array([1, 4 * 16]),
        "k": weights(4 * 16, 8),
    }
    made = model(
        [
            node("Sub", ["input", "Minus"], ["a"], **old),
            node("Div", ["a", "Divide"], ["s"], **old),
            node("Conv", ["s", "w"], ["c"], kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
            node("BatchNormalization", ["c", "g", "o", "m", "v"], ["n"], spatial=1, **trained),
            node("MaxPool", ["n"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
            node("Dropout", ["p"], ["d", "mask"], ratio=0.25, **trained),
            node("Reshape", ["d", "shape"], ["f"]),
            node("MatMul", ["f", "k"], ["output"]),
        ],
        [1, 1, 16, 16],
        [1, 8],
        constants,
        opset=opset,
    )
    made.ir_version = 3
    for name, value in constants.items():
        kind = TensorProto.INT64 if value.dtype == np.int64 else TensorProto.FLOAT
        made.graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))
    return made


def token(batch: int | str = 1) -> onnx.ModelProto:
    """A model that puts a constant before the features of each picture: its batch cannot be freed."""
    return model(
        [
            node("Conv", ["input", "w"], ["c"], strides=[8, 8]),
            node("Reshape", ["c", "cells"], ["r"]),
            node("Concat", ["class", "r"], ["t"], axis=2),
            node("ReduceMean", ["t"], ["m"], axes=[2], keepdims=0),
            node("MatMul", ["m", "k"], ["output"]),
        ],
        [batch, 3, 16, 16],
        [batch, 3],
        {
            "w": weights(8, 3, 8, 8),
            "cells": np.array([0, 8, 4]),
            "class": weights(batch if isinstance(batch, int) else 1, 8, 1),
            "k": weights(8, 3, scale=2.0),
        },
    )


def quantized() -> onnx.ModelProto:
    """Like ONNX Runtime's static quantization: pairs of operators, a limit as ReLU, weights at the end."""
    scale, zero = np.array(0.02, np.float32), np.array(0, np.uint8)
    filters = np.random.default_rng(3).integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    made = model(
        [
            node("DequantizeLinear", ["wq", "w_scale", "w_zero"], ["w"], axis=0),
            node("QuantizeLinear", ["input", "in_scale", "in_zero"], ["iq"]),
            node("DequantizeLinear", ["iq", "in_scale", "in_zero"], ["x"]),
            node("Conv", ["x", "w"], ["c"], strides=[3, 3]),
            node("QuantizeLinear", ["c", "scale", "zero"], ["cq"]),
            node("DequantizeLinear", ["cq", "scale", "zero"], ["r"]),
            node("GlobalAveragePool", ["r"], ["g"]),
            node("Flatten", ["g"], ["f"]),
            node("MatMul", ["f", "k"], ["output"]),
        ],
        [1, 3, 16, 16],
        [1, 3],
        {
            "in_scale": np.array(2 / 255, np.float32),
            "in_zero": np.array(128, np.uint8),
            "wq": filters,
            "w_scale": np.full(8, 0.004, np.float32),
            "w_zero": np.zeros(8, np.int8),
            "scale": scale,
            "zero": zero,
            "k": weights(8, 3, scale=2.0),
        },
    )
    made.graph.node.append(made.graph.node.pop(0))
    return made


def save(made: onnx.ModelProto, path: Path) -> Path:
    """Write a model and return its path."""
    path.write_bytes(made.SerializeToString())
    return path
