"""An ONNX graph as one looks at it to change it: who makes a tensor, who takes it, what is constant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.export import backend

Array = NDArray[Any]


class OnnxGraph:
    """model: an ONNX ModelProto, which is changed in place."""

    def __init__(self, model: Any) -> None:
        self._onnx = backend.load("onnx")
        self._model, self._graph = model, model.graph
        self._constants = {one.name: one for one in self._graph.initializer}
        self._shapes: dict[str, list[int | None]] | None = None

    def nodes(self, operator: str) -> list[Any]:
        """All nodes of one operator."""
        return [node for node in self._graph.node if node.op_type == operator]

    def producer(self, name: str) -> Any:
        """The node that a tensor comes from; None for inputs and constants."""
        return next((node for node in self._graph.node if name in node.output), None)

    def consumers(self, name: str) -> list[Any]:
        """The nodes that take a tensor, and the output of the graph that it is."""
        users = [node for node in self._graph.node if _takes(node, name)]
        return [*users, *(one for one in self._graph.output if one.name == name)]

    def only_consumer(self, name: str) -> Any:
        """The node that alone takes a tensor; None where others do too, or it is an output of the graph."""
        users = self.consumers(name)
        return users[0] if len(users) == 1 and users[0] in self._graph.node else None

    def constant(self, name: str) -> Array | None:
        """A constant, or None where the tensor is none."""
        tensor = self._constants.get(name)
        return None if tensor is None else self.array(tensor)

    def array(self, tensor: Any) -> Array:
        """A TensorProto's values."""
        return np.asarray(self._onnx.numpy_helper.to_array(tensor))

    def add_constant(self, name: str, value: Array) -> str:
        """Add a constant, and return its name."""
        tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        self._graph.initializer.append(tensor)
        self._constants[name] = tensor
        return name

    def shape(self, name: str) -> list[int | None]:
        """Lengths of a tensor's axes, None for those that are free; empty where nothing is known."""
        if self._shapes is None:
            inferred = self._onnx.shape_inference.infer_shapes(self._model).graph
            self._shapes = {
                one.name: [axis.dim_value or None for axis in one.type.tensor_type.shape.dim]
                for one in (*inferred.value_info, *inferred.input, *inferred.output)
            }
        return self._shapes.get(name, [])

    def attribute(self, node: Any, name: str, default: Any = None) -> Any:
        """An attribute of a node as a Python value."""
        found = next((one for one in node.attribute if one.name == name), None)
        return default if found is None else self._onnx.helper.get_attribute_value(found)

    def insert(self, before: Any, operator: str, feeds: Sequence[str], result: str, **how: Any) -> None:
        """Put a new node before another one."""
        node = self._onnx.helper.make_node(operator, feeds, [result], **how)
        self._graph.node.insert(list(self._graph.node).index(before), node)

    def remove(self, *nodes: Any) -> None:
        """Take nodes out, whose outputs others have taken over."""
        for node in nodes:
            self._graph.node.remove(node)

    def remove_unused(self) -> None:
        """Drop what does not lead to an output any more. A graph with graphs inside stays as it is."""
        if has_subgraphs(self._graph):
            return
        needed = {one.name for one in self._graph.output}
        for node in reversed(list(self._graph.node)):
            if needed.intersection(node.output):
                needed.update(node.input)
            else:
                self._graph.node.remove(node)
        for tensor in list(self._graph.initializer):
            if tensor.name not in needed:
                self._graph.initializer.remove(tensor)


def copy_model(model: Any) -> Any:
    """Another ModelProto of the same content."""
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def has_subgraphs(graph: Any) -> bool:
    """Whether there are graphs inside, as of a loop, which may use any name from around them."""
    return any(True for node in graph.node for _ in _inner_graphs(node))


def _takes(node: Any, name: str) -> bool:
    """Whether a node, or a graph inside it, takes a tensor."""
    return name in node.input or any(
        _takes(inner, name) for graph in _inner_graphs(node) for inner in graph.node
    )


def _inner_graphs(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
