"""Conversion of TensorFlow functions to ONNX graphs with the names and axes that the runtime expects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from edgeharfer.export import backend
from edgeharfer.export.onnx_graph import has_subgraphs
from edgeharfer.export.rewrite import rewrite
from edgeharfer.export.tf_operators import HANDLERS, check_operators
from edgeharfer.runtime.errors import ModelError, first_line

OPSET = 17


def to_onnx(call: Callable[[Any], Any], shape: Sequence[int], feed: str, result: str, name: str) -> Any:
    """Convert a function from one float32 batch to another.

    Args:
        call: The TensorFlow function.
        shape: Shape of the input without the batch axis, which stays free and is called "batch".
        feed: Name of the input.
        result: Name of the output.
        name: The model, for errors.

    Returns:
        An ONNX ModelProto.

    Raises:
        ModelError: The conversion fails.
    """
    tf = backend.load("tensorflow")
    spec = tf.TensorSpec((None, *shape), tf.float32)
    return tidy(function_to_onnx(call, spec, feed, result, name), shape, feed, result, name)


def function_to_onnx(call: Callable[[Any], Any], spec: Any, feed: str, result: str, name: str) -> Any:
    """Convert a function of one tensor to an ONNX ModelProto, whose output is float32.

    Args:
        call: The TensorFlow function.
        spec: TensorSpec of its argument.
        feed: Name of the input.
        result: Name of the output.
        name: The model, for errors.

    Raises:
        ModelError: The conversion fails.
    """
    tf, tf2onnx = backend.load("tensorflow"), backend.load("tf2onnx")
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=feed)]
    function = tf.function(
        lambda batch: {result: tf.cast(call(batch), tf.float32)}, input_signature=signature, autograph=False
    )
    try:
        with backend.quiet():
            model, _ = tf2onnx.convert.from_function(
                function, input_signature=signature, opset=OPSET, custom_op_handlers=dict(HANDLERS)
            )
            check_operators(model, name)
            return backend.load("onnxslim").slim(model)
    except ModelError:
        raise
    except Exception as error:  # The converters raise many types for an unknown operator.
        raise ModelError(f"{name}: cannot be converted to ONNX: {first_line(error)}") from error


def rename_output(model: Any, new: str) -> None:
    """Rename the only output in place."""
    old = model.graph.output[0].name
    if old == new:
        return
    for node in model.graph.node:
        node.output[:] = [new if one == old else one for one in node.output]
        node.input[:] = [new if one == old else one for one in node.input]
    model.graph.output[0].name = new


def pass_on(feed: str, shape: Sequence[int], result: str, opset: int = OPSET) -> Any:
    """Return an ONNX ModelProto that flattens `feed`, (batch, *shape), to `result`, (batch, values)."""
    helper, float32 = backend.load("onnx.helper"), backend.load("onnx").TensorProto.FLOAT
    given = helper.make_tensor_value_info(feed, float32, ["batch", *shape])
    made = helper.make_tensor_value_info(result, float32, ["batch", math.prod(shape)])
    node = helper.make_node("Flatten", [feed], [result], name="Flatten_0", axis=1)
    graph = helper.make_graph([node], feed, [given], [made])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def tidy(model: Any, shape: Sequence[int], feed: str, result: str, name: str) -> Any:
    """Free the batch of a graph, make it faster and its names reproducible; return it.

    Args:
        model: An ONNX ModelProto, which is changed.
        shape: Shape of the input without the batch axis, which is called "batch".
        feed: Name of the input.
        result: Name of the output.
        name: The model, for errors.

    Raises:
        ModelError: The graph has other inputs or outputs.
    """
    graph = model.graph
    if [one.name for one in graph.input] != [feed] or [one.name for one in graph.output] != [result]:
        raise ModelError(f"{name}: the converted graph differs from the model in its inputs or outputs")
    for tensor in (graph.input[0], graph.output[0]):
        tensor.type.tensor_type.shape.dim[0].Clear()
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    for axis, length in zip(graph.input[0].type.tensor_type.shape.dim[1:], shape, strict=True):
        axis.dim_value = length
    graph.name, graph.doc_string = feed, ""
    del graph.value_info[:]
    del model.metadata_props[:]
    rewrite(model)
    _number(graph)
    return model


def _number(graph: Any) -> None:
    """Give nodes and tensors names that depend only on the graph, so that exports are reproducible.

    Names from Keras and TensorFlow contain counters of the process.
    """
    if has_subgraphs(graph):
        return
    names = {tensor.name: tensor.name for tensor in (*graph.input, *graph.output)} | {"": ""}
    weights = {tensor.name for tensor in graph.initializer}
    for number, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type}_{number}", ""
        for name in (one for one in node.input if one in weights):
            names.setdefault(name, f"weight_{len(names)}")
        for index, name in enumerate(node.output):
            names.setdefault(name, f"{node.name}:{index}")
        node.input[:] = [names[one] for one in node.input]
        node.output[:] = [names[one] for one in node.output]
    stored = {tensor.name: tensor.SerializeToString() for tensor in graph.initializer}
    del graph.initializer[:]
    for old, new in names.items():
        if old in stored:
            graph.initializer.add().ParseFromString(stored[old])
            graph.initializer[-1].name = new
