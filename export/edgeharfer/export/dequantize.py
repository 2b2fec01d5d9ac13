"""Float graphs from quantized ones: 8-bit weights become floats, and activations are no longer rounded."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeharfer.calib.nodes import attribute
from edgeharfer.export.onnx_graph import Array, OnnxGraph
from edgeharfer.runtime.errors import ModelError

_REMOVED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
_INTEGER = ("ConvInteger", "MatMulInteger", "MatMulNBits", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
_LIMITED = ("Relu", "Clip", "Sigmoid", "HardSigmoid", "Softmax")
_FLOAT = 1  # TensorProto.DataType
_BLACK = {"uint8": 0, "int8": -128}
"""Value of a black pixel by the type of a quantized input (TensorFlow Lite's convention)."""


def is_quantized(model: Any) -> bool:
    """Whether a graph contains quantization operators."""
    return any(_quantizes(node.op_type) for node in model.graph.node)


def _quantizes(operator: str) -> bool:
    return operator in (*_REMOVED, *_INTEGER) or operator.startswith("QLinear")


def dequantize(model: Any, name: str, feed: str, *, limits: bool) -> bool:
    """Remove quantization in place.

    A quantized input becomes raw pixels from 0 to 255, from which the graph computes the real values.

    Args:
        model: A ModelProto.
        name: The file, for errors.
        feed: Name of the input.
        limits: Keep the limits of quantized activations, which ONNX Runtime's quantization uses in place of
            ReLU. TensorFlow Lite has its activations besides.

    Returns:
        Whether the graph now scales raw pixels.

    Raises:
        ModelError: The graph computes in integers.
    """
    graph = OnnxGraph(model)
    for node in model.graph.node:
        if _quantizes(node.op_type) and node.op_type not in _REMOVED:
            raise ModelError(
                f"{name}: is quantized ({node.op_type}): export the float model, and add INT8 with "
                "--precision fp32,int8 --calibration DIR"
            )
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and not _is_rounding(graph, node):
            for scale in filter(None, node.input[1:3]):
                if (value := graph.constant(scale)) is None or not value.size:
                    raise ModelError(
                        f"{name}: is quantized with scales that are not constants ({scale[:40]!r}): export "
                        "the float model"
                    )
    scaled = _scale_input(graph, model, feed)
    first = graph.only_consumer(feed)
    for node in [one for one in model.graph.node if one.op_type in _REMOVED]:
        value = graph.constant(node.input[0])
        if node.op_type == "DequantizeLinear" and value is not None:
            graph.add_constant(node.output[0], _real(graph, node, value))
        elif node.op_type == "QuantizeLinear" and (node is first or (limits and _replaces_relu(graph, node))):
            _limit(graph, node)
        else:
            graph.insert(node, "Identity", [node.input[0]], node.output[0])
        graph.remove(node)
    for one in model.graph.output:
        if graph.numpy_type(one.type.tensor_type.elem_type) in _BLACK:
            one.type.tensor_type.elem_type = _FLOAT
    return scaled


def _is_rounding(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node only takes back a DynamicQuantizeLinear.

    tf2onnx writes such a pair before the dense layers of TensorFlow Lite files whose weights alone are 8-bit.
    """
    maker = graph.producer(node.input[0])
    return (
        node.op_type == "DequantizeLinear"
        and maker is not None
        and maker.op_type == "DynamicQuantizeLinear"
        and list(node.input) == list(maker.output)
    )


def _scale_input(graph: OnnxGraph, model: Any, feed: str) -> bool:
    """Insert the arithmetic from pixels to real values behind a quantized input."""
    [given] = [one for one in model.graph.input if one.name == feed]
    numpy_type = graph.numpy_type(given.type.tensor_type.elem_type)
    reader = graph.only_consumer(feed)
    while reader is not None and reader.op_type in ("Transpose", "Reshape", "Identity"):
        reader = graph.only_consumer(reader.output[0])
    if numpy_type not in _BLACK or reader is None or reader.op_type != "DequantizeLinear":
        return False
    scale, zero = _scale(graph, reader)
    black = np.array(int(zero.ravel()[0]) - _BLACK[numpy_type], np.float32)
    pixels = f"{feed}/pixels"
    readers = [node for node in model.graph.node if feed in node.input]
    graph.insert(readers[0], "Sub", [feed, graph.add_constant(f"{feed}/black", black)], pixels)
    factor = graph.add_constant(f"{feed}/scale", np.array(scale.ravel()[0]))
    graph.insert(readers[0], "Mul", [pixels, factor], f"{feed}/real")
    given.type.tensor_type.elem_type = _FLOAT
    for node in readers:
        node.input[:] = [f"{feed}/real" if one == feed else one for one in node.input]
    return True


def _scale(graph: OnnxGraph, node: Any) -> tuple[Array, Array]:
    """Return scale and zero point of a node."""
    scale = graph.constant(node.input[1])
    zero = graph.constant(node.input[2]) if any(node.input[2:3]) else np.zeros(1, np.uint8)
    assert scale is not None and zero is not None, "checked in dequantize"
    return scale.astype(np.float32), zero


def _real(graph: OnnxGraph, node: Any, value: Array) -> Array:
    scale, zero = _scale(graph, node)
    if scale.size > 1:
        axis = attribute(node, "axis", 1) % value.ndim
        shape = [-1 if one == axis else 1 for one in range(value.ndim)]
        scale, zero = scale.reshape(shape), np.broadcast_to(zero.ravel(), scale.size).reshape(shape)
    return np.asarray((value.astype(np.float32) - zero.astype(np.float32)) * scale, np.float32)


def _replaces_relu(graph: OnnxGraph, node: Any) -> bool:
    """Whether the limits of a quantized tensor do what a ReLU did: the lowest is zero."""
    _, zero = _scale(graph, node)
    maker = graph.producer(node.input[0])
    is_limited = maker is not None and maker.op_type in _LIMITED
    return not is_limited and int(zero.ravel()[0]) == int(np.iinfo(zero.dtype).min)


def _limit(graph: OnnxGraph, node: Any) -> None:
    scale, zero = _scale(graph, node)
    kind = np.iinfo(zero.dtype)
    bounds = [
        graph.add_constant(
            f"{node.output[0]}/{key}", np.array((limit - int(zero.ravel()[0])) * scale.ravel()[0], np.float32)
        )
        for key, limit in (("lowest", kind.min), ("highest", kind.max))
    ]
    graph.insert(node, "Clip", [node.input[0], *bounds], node.output[0])
