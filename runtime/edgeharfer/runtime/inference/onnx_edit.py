"""Edit ONNX graphs without the onnx package: nodes and weights in, new bytes out.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Only bytes that
`scan.scan_onnx` has accepted are edited, and the result is scanned again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.protobuf import (
    BYTES,
    Field,
    FieldBudget,
    as_integers,
    as_string,
    read_fields,
    write_field,
)
from edgeharfer.runtime.inference.scan import MAX_FIELDS

Array = NDArray[Any]

FLOAT, UINT8, INT8, INT32, INT64, BOOL, FLOAT16, DOUBLE = 1, 2, 3, 6, 7, 9, 10, 11
"""Values of TensorProto.DataType."""
_DTYPES: Mapping[int, np.dtype[Any]] = {
    number: np.dtype(name).newbyteorder("<")
    for number, name in {
        FLOAT: "float32", UINT8: "uint8", INT8: "int8", INT32: "int32", INT64: "int64", BOOL: "bool",
        FLOAT16: "float16", DOUBLE: "float64",
    }.items()
}  # fmt: skip
_MODEL_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO, _QUANTIZATION = 1, 5, 11, 12, 13, 14
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 1, 3, 5, 6, 11


@dataclass
class Node:
    """A node of a graph.

    Attributes:
        op: Type of the operator.
        inputs: Names of its inputs; "" for one that is left out.
        outputs: Names of its outputs.
        attributes: Its attributes, serialised, by name.
        others: All other fields, serialised.
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, bytes] = field(default_factory=dict)
    others: bytes = b""

    @classmethod
    def parse(cls, data: memoryview, budget: FieldBudget) -> Node:
        """Parse a NodeProto."""
        node = cls("", [], [])
        for one in read_fields(data, budget):
            if one[0] == 1:
                node.inputs.append(as_string(one))
            elif one[0] == 2:
                node.outputs.append(as_string(one))
            elif one[0] == 4:
                node.op = as_string(one)
            elif one[0] == 5:
                name = next(as_string(part) for part in read_fields(one[3], budget) if part[0] == 1)
                node.attributes[name] = bytes(one[3])
            else:
                node.others += _copy(one)
        return node

    @property
    def has_subgraphs(self) -> bool:
        """Whether an attribute is a graph."""
        budget = FieldBudget(MAX_FIELDS)
        return any(
            part[0] in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS)
            for attribute in self.attributes.values()
            for part in read_fields(memoryview(attribute), budget)
        )

    def integer(self, name: str) -> int | None:
        """Return an integer attribute."""
        parts = read_fields(memoryview(self.attributes.get(name, b"")), FieldBudget(MAX_FIELDS))
        return next((as_integers(part)[0] for part in parts if part[0] == _ATTRIBUTE_INT), None)

    def set_integer(self, name: str, value: int) -> None:
        """Set an integer attribute."""
        self.attributes[name] = (
            write_field(_ATTRIBUTE_NAME, name) + write_field(_ATTRIBUTE_INT, value) + write_field(20, 2)
        )

    def tensor(self, name: str) -> Array | None:
        """Return a tensor attribute."""
        parts = read_fields(memoryview(self.attributes.get(name, b"")), FieldBudget(MAX_FIELDS))
        found = next((part[3] for part in parts if part[0] == _ATTRIBUTE_TENSOR), None)
        return None if found is None else _parse_tensor(found, FieldBudget(MAX_FIELDS))[1]

    def set_tensor(self, name: str, value: Array) -> None:
        """Set a tensor attribute."""
        tensor = write_field(_ATTRIBUTE_TENSOR, _write_tensor("", value))
        self.attributes[name] = write_field(_ATTRIBUTE_NAME, name) + tensor + write_field(20, 4)

    def write(self) -> bytes:
        """Serialise the node."""
        return b"".join([
            *(write_field(1, name) for name in self.inputs),
            *(write_field(2, name) for name in self.outputs),
            write_field(4, self.op),
            *(write_field(5, attribute) for attribute in self.attributes.values()),
            self.others,
        ])  # fmt: skip


class EditableGraph:
    """The main graph of an ONNX model.

    Attributes:
        nodes: Its nodes, in order.
        tensors: Its weights by name. Those of types that NumPy lacks are kept but not listed.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
    """

    def __init__(self, graph: Graph) -> None:
        self._name, budget = graph.name, FieldBudget(2 * MAX_FIELDS)
        self.nodes: list[Node] = []
        self.tensors: dict[str, Array] = {}
        self.inputs = [one.name for one in graph.info.inputs]
        self.outputs = [one.name for one in graph.info.outputs]
        self._around = self._others = b""
        for outer in read_fields(memoryview(graph.data), budget):
            if outer[0] != _MODEL_GRAPH:
                self._around += _copy(outer)
                continue
            for one in read_fields(outer[3], budget):
                self._read(one, budget)

    def consumers(self, tensor: str) -> list[Node]:
        """Return the nodes that read a tensor."""
        return [node for node in self.nodes if tensor in node.inputs]

    def rename(self, before: str, after: str) -> None:
        """Let all nodes read and write another tensor."""
        for node in self.nodes:
            node.inputs = [after if name == before else name for name in node.inputs]
            node.outputs = [after if name == before else name for name in node.outputs]

    def _sorted(self) -> list[Node]:
        """Return the nodes so that each follows those whose outputs it reads."""
        makers = {name: place for place, node in enumerate(self.nodes) for name in node.outputs if name}
        needs = {
            place: [makers[name] for name in node.inputs if name in makers]
            for place, node in enumerate(self.nodes)
        }
        try:
            return [self.nodes[place] for place in TopologicalSorter(needs).static_order()]
        except CycleError as error:
            raise ModelError(f"{self._name}: damaged: the graph contains a cycle") from error

    def write(self) -> Graph:
        """Serialise and scan the edited model, in order and without weights that no node reads.

        Raises:
            ModelError: The result is not a valid model.
        """
        used = {name for node in self.nodes for name in node.inputs} | set(self.outputs)
        kept = {name: array for name, array in self.tensors.items() if name in used}
        content = b"".join([
            *(write_field(_NODE, node.write()) for node in self._sorted()),
            *(write_field(_INITIALIZER, _write_tensor(name, array)) for name, array in kept.items()),
            self._others,
        ])  # fmt: skip
        return Graph.scan(self._around + write_field(_MODEL_GRAPH, content), self._name)

    def _read(self, one: Field, budget: FieldBudget) -> None:
        if one[0] == _NODE:
            self.nodes.append(Node.parse(one[3], budget))
        elif one[0] == _INITIALIZER:
            name, array = _parse_tensor(one[3], budget)
            if array is None:
                self._others += _copy(one)
            else:
                self.tensors[name] = array
        elif one[0] not in (_VALUE_INFO, _QUANTIZATION):
            self._others += _copy(one)


def _copy(one: Field) -> bytes:
    number, wire, value, content = one
    return write_field(number, bytes(content) if wire == BYTES else value, wire, content)


def _parse_tensor(data: memoryview, budget: FieldBudget) -> tuple[str, Array | None]:
    dims: list[int] = []
    values: list[int] = []
    kind, name, raw = 0, "", data[:0]
    for one in read_fields(data, budget):
        if one[0] == 1:
            dims += as_integers(one)
        elif one[0] == 2:
            kind = one[2]
        elif one[0] in (5, 7):
            values += as_integers(one)
        elif one[0] == 8:
            name = as_string(one)
        elif one[0] in (4, 9, 10):
            raw = memoryview(bytes(raw) + bytes(one[3]))
    if kind not in _DTYPES:
        return name, None
    if values:
        stored = np.array(values).astype(np.uint16 if kind == FLOAT16 else _DTYPES[kind])
        return name, stored.view(_DTYPES[kind]).reshape(dims)
    return name, np.frombuffer(raw, _DTYPES[kind]).reshape(dims)


def _write_tensor(name: str, array: Array) -> bytes:
    kind = next(number for number, dtype in _DTYPES.items() if dtype == array.dtype)
    return b"".join([
        *(write_field(1, size) for size in array.shape),
        write_field(2, kind),
        write_field(8, name),
        write_field(9, np.ascontiguousarray(array, _DTYPES[kind]).tobytes()),
    ])  # fmt: skip
