"""Conversion of a graph to other floating-point precisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeharfer.export import backend
from edgeharfer.export.onnx_graph import copy_model
from edgeharfer.runtime.errors import ConfigError

HALF_MIN_VALUES = 256
"""Minimum size of a tensor that is stored as float16; smaller ones do not pay for the Cast."""

_WITH_SUBGRAPHS = ("If", "Loop", "Scan")


def to_fp32(model: Any) -> Any:
    """Return the graph unchanged."""
    return model


def to_fp16(model: Any) -> Any:
    """Convert weights and arithmetic to float16, with float32 input and output, for GPUs.

    Casts of the graph itself stay as they are, since each names its type.

    Raises:
        ConfigError: The graph holds a loop or a branch, which the converter breaks.
    """
    float16 = backend.load("onnxconverter_common.float16")
    model = copy_model(model)
    held = sorted({node.op_type for node in model.graph.node if node.op_type in _WITH_SUBGRAPHS})
    if held:
        raise ConfigError(
            f"fp16: the graph contains {', '.join(held)}, which cannot be converted to FP16: remove fp16"
        )
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    for number, node in enumerate(casts):
        node.name = node.name or f"cast/{number}"
    with backend.quiet():
        return float16.convert_float_to_float16(
            model, keep_io_types=True, node_block_list=[node.name for node in casts]
        )


RECIPES: dict[str, Callable[[Any], Any]] = {"fp32": to_fp32, "fp16": to_fp16}
"""Precision to the function that converts an FP32 graph."""

TOLERANCES = {"fp32": 1e-4, "fp16": 5e-2}
"""Precision to the largest accepted difference of a probability from Keras."""

QUANTIZED_TOLERANCES = {"fp32": 0.25, "fp16": 0.25}
"""The same for a file that rounds activations to eight bits, while its package does not."""


def halve_weights(model: Any) -> Any:
    """Store the weights of a float32 graph as float16, each followed by a Cast.

    This halves the file. ONNX Runtime folds the casts when it loads the graph, so arithmetic and speed are
    those of float32. Weights out of float16's range are not changed.
    """
    onnx, numpy = backend.load("onnx"), backend.load("numpy")
    model = copy_model(model)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size < HALF_MIN_VALUES or not numpy.abs(values).max() < numpy.finfo("float16").max:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), f"{name}/half"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
