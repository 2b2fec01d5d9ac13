"""Reproducible names for graphs from TensorFlow Lite: those that tf2onnx gives differ from run to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def rename_tensors(proto: onnx.ModelProto, name: str, named: Mapping[str, str]) -> None:
    """Name a graph, its inputs and its outputs, and number its nodes and its other tensors, in place.

    Args:
        proto: The model.
        name: Name of the graph.
        named: New names of inputs and outputs by their old names.
    """
    graph = proto.graph
    graph.name = name
    names = {**named, "": ""}
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
        for value in (*node.input, *node.output):
            names.setdefault(value, f"v{len(names)}")
        node.input[:] = [names[value] for value in node.input]
        node.output[:] = [names[value] for value in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names[value.name]
    weights = sorted(graph.initializer, key=lambda tensor: int(tensor.name[1:]))
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(weights)
