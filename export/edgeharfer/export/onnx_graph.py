"""View of an ONNX graph for rewrites: producers and consumers of tensors, constants, shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.calib.nodes import read_names, subgraphs
from edgeharfer.export import backend
from edgeharfer.runtime.errors import ModelError

Array = NDArray[Any]


class OnnxGraph:
    """An ONNX ModelProto that is changed in place."""

    def __init__(self, model: Any) -> None:
        self._onnx = backend.load("onnx")
        self._model, self._graph = model, model.graph
        self._constants = {one.name: one for one in self._graph.initializer}
        self._shapes: dict[str, list[int | None]] | None = None

    def nodes(self, operator: str) -> list[Any]:
        """Return all nodes of an operator."""
        return [node for node in self._graph.node if node.op_type == operator]

    def producer(self, name: str) -> Any:
        """Return the node that computes a tensor; None for inputs and constants."""
        return next((node for node in self._graph.node if name in node.output), None)

    def consumers(self, name: str) -> list[Any]:
        """Return the nodes that read a tensor, and the graph output of that name."""
        nodes = [node for node in self._graph.node if name in read_names(node)]
        return [*nodes, *(one for one in self._graph.output if one.name == name)]

    def only_consumer(self, name: str) -> Any:
        """Return the only node that reads a tensor; None if there are others or it is a graph output."""
        found = self.consumers(name)
        return found[0] if len(found) == 1 and found[0] in self._graph.node else None

    def constant(self, name: str) -> Array | None:
        """Return the value of a constant; None for other tensors."""
        tensor = self._constants.get(name)
        return None if tensor is None else self.array(tensor)

    def array(self, tensor: Any) -> Array:
        """Return the values of a TensorProto."""
        return np.asarray(self._onnx.numpy_helper.to_array(tensor))

    def numpy_type(self, data_type: int) -> str:
        """Return NumPy's name of a TensorProto.DataType; "" if there is none."""
        try:
            return str(np.dtype(self._onnx.helper.tensor_dtype_to_np_dtype(data_type)))
        except (KeyError, TypeError):
            return ""

    def add_constant(self, name: str, value: Array) -> str:
        """Add a constant and return its name."""
        tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        self._graph.initializer.append(tensor)
        self._constants[name] = tensor
        return name

    def shape(self, name: str) -> list[int | None]:
        """Return the shape of a tensor, with None for free axes; empty if unknown."""
        if self._shapes is None:
            inferred = self._onnx.shape_inference.infer_shapes(self._model).graph
            self._shapes = {
                one.name: [axis.dim_value or None for axis in one.type.tensor_type.shape.dim]
                for one in (*inferred.value_info, *inferred.input, *inferred.output)
            }
        return self._shapes.get(name, [])

    def insert(self, before: Any, operator: str, feeds: Sequence[str], result: str, **how: Any) -> None:
        """Insert a new node before another one."""
        node = self._onnx.helper.make_node(operator, feeds, [result], **how)
        self._graph.node.insert(list(self._graph.node).index(before), node)

    def append(self, operator: str, feeds: Sequence[str], result: str, **how: Any) -> str:
        """Append a new node and return the name of its output."""
        self._graph.node.append(self._onnx.helper.make_node(operator, feeds, [result], **how))
        return result

    def remove(self, *nodes: Any) -> None:
        """Remove nodes whose outputs are no longer needed."""
        for node in nodes:
            self._graph.node.remove(node)

    def sort_nodes(self) -> None:
        """Put each node after those that compute its inputs; quantized files often are in another order.

        Raises:
            ModelError: Nodes depend on each other in a circle.
        """
        nodes = list(self._graph.node)
        makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
        needs = {
            place: {makers[name] for name in read_names(node) if name in makers}
            for place, node in enumerate(nodes)
        }
        if all(need < place for place, known in needs.items() for need in known):
            return
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            raise ModelError("damaged: the graph contains a cycle") from error
        copies = [copy_model(nodes[place]) for place in order]
        del self._graph.node[:]
        self._graph.node.extend(copies)

    def remove_unused(self) -> None:
        """Remove nodes and constants that no output depends on."""
        needed = {one.name for one in self._graph.output}
        for node in reversed(list(self._graph.node)):
            if needed.intersection(node.output):
                needed.update(read_names(node))
            else:
                self._graph.node.remove(node)
        for tensor in list(self._graph.initializer):
            if tensor.name not in needed:
                self._graph.initializer.remove(tensor)


def copy_model(model: Any) -> Any:
    """Copy a ModelProto, or a part of one."""
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def has_subgraphs(graph: Any) -> bool:
    """Whether there are graphs inside, as of a loop, which may use any name from around them."""
    return any(True for node in graph.node for _ in subgraphs(node))


def all_nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from all_nodes(inner)


def rename_tensors(graph: Any, names: Mapping[str, str]) -> None:
    """Rename tensors of a graph and of its subgraphs, in place."""
    for one in (*graph.input, *graph.output, *graph.initializer):
        one.name = names.get(one.name, one.name)
    for node in graph.node:
        node.input[:] = [names.get(one, one) for one in node.input]
        node.output[:] = [names.get(one, one) for one in node.output]
        for inner in subgraphs(node):
            rename_tensors(inner, names)
