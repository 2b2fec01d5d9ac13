"""One graph in other number formats. The recipes of each precision are looked up in one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeharfer.export import backend
from edgeharfer.export.onnx_graph import copy_model

HALF_MIN_VALUES = 256
"""Smaller tensors are not worth a Cast."""


def to_fp32(model: Any) -> Any:
    """The graph as it was converted."""
    return model


def to_fp16(model: Any) -> Any:
    """Weights and arithmetic in float16, input and output in float32: for GPUs."""
    float16 = backend.load("onnxconverter_common.float16")
    with backend.quiet():
        return float16.convert_float_to_float16(copy_model(model), keep_io_types=True)


RECIPES: dict[str, Callable[[Any], Any]] = {"fp32": to_fp32, "fp16": to_fp16}
"""Precision -> graph of that precision."""

TOLERANCES = {"fp32": 1e-4, "fp16": 5e-2}
"""Largest difference of a probability from Keras that is accepted."""


def halve_weights(model: Any) -> Any:
    """The float32 graph with its weights stored as float16, each behind a Cast.

    Half the file; the engine folds the casts when it loads, so the arithmetic and its speed stay
    float32's. Weights that float16 cannot hold stay as they are.
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
