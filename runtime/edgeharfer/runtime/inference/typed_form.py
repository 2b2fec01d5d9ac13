"""Forms of a graph for TensorRT, which are made when it is loaded, so a package needs no second file.

TensorRT takes the precision from the types of the graph. Its parser refuses what the fastest CPU graphs have:
unsigned activations with zero points, 32-bit biases, 8-bit weights without DequantizeLinear, and activations
quantized at run time.
"""

from __future__ import annotations

import numpy as np

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.onnx_edit import FLOAT, FLOAT16, Array, EditableGraph, Node

DYNAMIC = "DynamicQuantizeLinear"
"""Operator of graphs whose activations are quantized at run time. TensorRT has no form of them."""
_HALF_MAX = float(np.finfo(np.float16).max)
_FLOAT_INPUTS = {"Resize": (1, 2), "Upsample": (1,), "QuantizeLinear": (1,), "DequantizeLinear": (1,)}
"""Inputs that must stay float32, by operator."""


def half_form(graph: Graph) -> Graph:
    """Return an FP32 graph with weights and arithmetic in FP16, and FP32 inputs and outputs.

    Raises:
        ModelError: The graph has subgraphs.
    """
    edited = EditableGraph(graph)
    if any(node.has_subgraphs for node in edited.nodes):
        raise ModelError(
            f"{graph.name}: a graph with subgraphs cannot be converted to FP16: use another precision"
        )
    _float_integers(edited)
    fixed = {
        node.inputs[place]
        for node in edited.nodes
        for place in _FLOAT_INPUTS.get(node.op, ())
        if place < len(node.inputs)
    }
    for name, array in edited.tensors.items():
        if array.dtype == np.float32 and name not in fixed:
            edited.tensors[name] = _half(array)
    for node in edited.nodes:
        if node.op == "Cast" and node.integer("to") == FLOAT:
            node.set_integer("to", FLOAT16)
        value = node.tensor("value") if node.op in ("Constant", "ConstantOfShape") else None
        if value is not None and value.dtype == np.float32 and not fixed.intersection(node.outputs):
            node.set_tensor("value", _half(value))
    _cast_ends(edited)
    return edited.write()


def tensorrt_form(graph: Graph) -> Graph:
    """Return a graph with signed, symmetric activations and float biases in place of the CPU's.

    The range of each activation stays, so it has up to one bit less. A lower limit of 0, which the unsigned
    type implies, becomes a Relu. A graph that has nothing of this is returned as it is.
    """
    edited = EditableGraph(graph)
    before = edited.write().data
    _float_constants(edited)
    _float_integers(edited)
    nodes: list[Node] = []
    for node in edited.nodes:
        if node.op in ("QuantizeLinear", "DequantizeLinear") and len(node.inputs) == 3:
            nodes += _symmetric(edited, node)
        else:
            nodes.append(node)
    edited.nodes = nodes
    made = edited.write()
    return graph if made.data == before else made


def _symmetric(edited: EditableGraph, node: Node) -> list[Node]:
    """Make one node symmetric; returns it after a Relu if its lowest value is 0."""
    data, scale_name, zero_name = node.inputs
    scale, zero = edited.tensors.get(scale_name), edited.tensors.get(zero_name)
    if scale is None or zero is None or zero.dtype != np.uint8 or data in edited.tensors:
        return [node]
    low, high = -zero.astype(np.float32) * scale, (255 - zero.astype(np.float32)) * scale
    signed = f"{scale_name}/symmetric", f"{zero_name}/symmetric"
    edited.tensors[signed[0]] = np.asarray(np.maximum(-low, high) / 127, np.float32)
    edited.tensors[signed[1]] = np.zeros_like(zero, np.int8)
    node.inputs = [data, *signed]
    if node.op == "DequantizeLinear" or zero.any():
        return [node]
    limited = f"{node.outputs[0]}/relu"
    node.inputs[0] = limited
    return [Node("Relu", [data], [limited]), node]


def _float_constants(edited: EditableGraph) -> None:
    """Store constants in floats whose quantized types TensorRT lacks: 32-bit biases and unsigned bytes."""
    kept = []
    for node in edited.nodes:
        values = edited.tensors.get(node.inputs[0]) if node.op == "DequantizeLinear" else None
        if values is not None and values.dtype in (np.int32, np.uint8):
            scale, *zeros = (edited.tensors[name] for name in node.inputs[1:])
            shifted = values.astype(np.float64) - sum(zero.astype(np.float64) for zero in zeros)
            edited.tensors[node.outputs[0]] = np.asarray(shifted * scale, np.float32)
        else:
            kept.append(node)
    edited.nodes = kept


def _float_integers(edited: EditableGraph) -> None:
    """Store 8-bit weights that a Cast converts as floats."""
    for node in edited.nodes:
        weights = edited.tensors.get(node.inputs[0]) if node.op == "Cast" else None
        if weights is not None and weights.dtype == np.int8 and node.integer("to") == FLOAT:
            edited.tensors[node.inputs[0]] = weights.astype(np.float32)


def _cast_ends(edited: EditableGraph) -> None:
    """Convert inputs to FP16 and outputs back."""
    first, last = [], []
    for name in edited.inputs:
        edited.rename(name, f"{name}/half")
        first.append(_cast(name, f"{name}/half", FLOAT16))
    for name in edited.outputs:
        edited.rename(name, f"{name}/half")
        last.append(_cast(f"{name}/half", name, FLOAT))
    edited.nodes = [*first, *edited.nodes, *last]


def _cast(source: str, target: str, kind: int) -> Node:
    node = Node("Cast", [source], [target])
    node.set_integer("to", kind)
    return node


def _half(array: Array) -> Array:
    """Round to FP16. Larger values become the largest one: they are limits and masks, such as -1e9."""
    return array.clip(-_HALF_MAX, _HALF_MAX).astype(np.float16)
