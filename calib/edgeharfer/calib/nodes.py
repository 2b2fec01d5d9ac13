"""Parts of the nodes of ONNX graphs: attributes, subgraphs, and the tensors that they read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeharfer.calib import tools


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """Return an attribute of a node as a Python value, or the default of its operator."""
    read = tools.load("onnx").helper.get_attribute_value
    return next((read(one) for one in node.attribute if one.name == name), default)


def subgraphs(node: Any) -> Iterator[Any]:
    """Yield the graphs inside a node."""
    for one in node.attribute:
        if one.HasField("g"):
            yield one.g
        yield from one.graphs


def read_names(node: Any) -> Iterator[str]:
    """Yield the tensors that a node and its subgraphs read."""
    yield from node.input
    for graph in subgraphs(node):
        yield from (one.name for one in graph.output)
        for inner in graph.node:
            yield from read_names(inner)
