"""The rolling form of a recurrent head: the same weights, one frame at a time.

The product of a frame's features with an LSTM's kernel is the same in every window. So it is computed once
and passed to the layer as its bias, which all rows of a batch share. The rows are the windows that are open
(see `edgeharfer.runtime.tasks.rolling`), and the layer's own input is zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeharfer.calib.nodes import attribute
from edgeharfer.export import backend
from edgeharfer.export.onnx_graph import Array, OnnxGraph, copy_model

FEATURES = "features"
STATES = ("h", "c")


def rolling_form(head: Any) -> Any:
    """Convert a head to its rolling form.

    Args:
        head: ONNX ModelProto from a window (batch, frames, size) to scores; it is not changed.

    Returns:
        ONNX ModelProto from features (1, size) and the states h, c (1, frames, units) to scores, next_h and
        next_c. None unless the head reads its window with one forward LSTM and uses only its last state.
    """
    model = copy_model(head)
    graph = OnnxGraph(model)
    layer = _find_layer(graph, model.graph.input[0].name)
    if layer is None:
        return None
    frames, size = (axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim[1:])
    lstm, units, next_states = layer.lstm, layer.recurrent.shape[2], [f"next_{state}" for state in STATES]
    of_input, of_state = np.split(layer.bias[0], 2)
    kernel = graph.add_constant("rolling/kernel", layer.kernel[0].T)
    bias = graph.add_constant("rolling/bias", of_input + of_state)
    no_bias = graph.add_constant("rolling/no_bias", np.zeros((1, of_state.size), np.float32))
    graph.insert(lstm, "Gemm", [FEATURES, kernel, bias], "rolling/frame")
    graph.insert(lstm, "Concat", ["rolling/frame", no_bias], "rolling/as_bias", axis=1)
    nothing = graph.add_constant("rolling/nothing", np.zeros((1, frames, 1), np.float32))
    no_kernel = graph.add_constant("rolling/no_kernel", np.zeros((1, 4 * units, 1), np.float32))
    lstm.input[:] = [nothing, no_kernel, lstm.input[2], "rolling/as_bias", "", *STATES]
    lstm.output[:] = ["rolling/states", *next_states]
    start, end = (graph.add_constant(f"rolling/{n}", np.array([n])) for n in (0, 1))
    graph.insert(layer.squeeze, "Slice", [next_states[0], start, end, end], "rolling/complete")
    layer.squeeze.input[0] = "rolling/complete"
    graph.remove(layer.transpose)
    rows = (1, frames, units)
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    model.graph.output.extend(_floats(name, rows) for name in next_states)
    del model.graph.input[:]
    model.graph.input.extend([_floats(FEATURES, (1, size)), *(_floats(state, rows) for state in STATES)])
    graph.remove_unused()
    return model


@dataclass(frozen=True, eq=False)
class _Layer:
    """The LSTM with the nodes before and after it, and its weights.

    Attributes:
        transpose: Node before the LSTM.
        lstm: The LSTM.
        squeeze: Node that reads its last state.
        kernel: Weights of the input, (1, 4 units, size).
        recurrent: Weights of the state, (1, 4 units, units).
        bias: Both biases, (1, 8 units).
    """

    transpose: Any
    lstm: Any
    squeeze: Any
    kernel: Array
    recurrent: Array
    bias: Array


def _find_layer(graph: OnnxGraph, window: str) -> _Layer | None:
    transpose = graph.only_consumer(window)
    lstm = graph.only_consumer(transpose.output[0]) if transpose is not None else None
    if lstm is None or (transpose.op_type, lstm.op_type) != ("Transpose", "LSTM") or len(lstm.output) < 2:
        return None
    squeeze = graph.only_consumer(lstm.output[1])
    others = [name for place, name in enumerate(lstm.output) if place != 1 and graph.consumers(name)]
    plain = (
        list(attribute(transpose, "perm")) == [1, 0, 2]
        and attribute(lstm, "direction", b"forward") == b"forward"
        and attribute(lstm, "layout", 0) == 0
        and not any(lstm.input[4:])
    )
    if not plain or others or squeeze is None or squeeze.op_type != "Squeeze":
        return None
    kernel, recurrent, bias = (graph.constant(name) for name in [*lstm.input, ""][1:4])
    if kernel is None or recurrent is None:
        return None
    if bias is None:
        if any(lstm.input[3:4]):
            return None
        bias = np.zeros((1, 2 * kernel.shape[1]), kernel.dtype)
    return _Layer(transpose, lstm, squeeze, kernel, recurrent, bias)


def _floats(name: str, shape: tuple[int, ...]) -> Any:
    helper = backend.load("onnx.helper")
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)), shape)
