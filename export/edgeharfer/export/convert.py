"""Conversion of TensorFlow functions to ONNX graphs with the names and axes that the runtime expects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edgeharfer.export import backend
from edgeharfer.export.keras_model import first_line
from edgeharfer.export.onnx_graph import has_subgraphs
from edgeharfer.export.rewrite import rewrite
from edgeharfer.runtime.errors import ModelError

OPSET = 17

# Operators after the last layer that change neither which value is largest nor that the values sum to 1.
_TRANSPARENT = ("Identity", "Cast", "Reshape", "Squeeze", "Flatten", "Unsqueeze")


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
    tf, tf2onnx = backend.load("tensorflow"), backend.load("tf2onnx")
    signature = [tf.TensorSpec((None, *shape), tf.float32, name=feed)]
    function = tf.function(
        lambda batch: {result: tf.cast(call(batch), tf.float32)}, input_signature=signature, autograph=False
    )
    try:
        with backend.quiet():
            model, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=OPSET)
            model = backend.load("onnxslim").slim(model)
    except Exception as error:  # The converters raise many types for an unknown operator.
        raise ModelError(f"{name}: cannot be converted to ONNX: {first_line(error)}") from error
    return tidy(model, shape, feed, result, name)


def output_kind(model: Any, name: str) -> str:
    """Return "probs" or "logits", depending on the last operator of a classifier.

    Raises:
        ModelError: The last operator is an activation other than softmax.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type in _TRANSPARENT:
        node = makers.get(node.input[0])
    last = node.op_type if node is not None else "nothing"
    if last in ("Sigmoid", "LogSoftmax", "HardSigmoid"):
        raise ModelError(f"{name}: ends in {last}: the last layer must be softmax or linear")
    return "probs" if last == "Softmax" else "logits"


def rename_output(model: Any, new: str) -> None:
    """Rename the only output in place."""
    old = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = [new if one == old else one for one in node.output]
        node.input[:] = [new if one == old else one for one in node.input]
    model.graph.output[0].name = new


def tidy(model: Any, shape: Sequence[int], feed: str, result: str, name: str) -> Any:
    graph = model.graph
    if [one.name for one in graph.input] != [feed] or [one.name for one in graph.output] != [result]:
        raise ModelError(f"{name}: the converted graph has other inputs or outputs than the model")
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
