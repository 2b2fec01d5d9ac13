"""Scan ONNX files for unsafe content before an engine loads them, without the onnx package.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Files with external data,
custom operators, functions or tensors larger than their bytes are refused, as is anything that cannot be
parsed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.protobuf import (
    BYTES,
    VARINT,
    FieldBudget,
    MalformedModelError,
    as_integers,
    as_string,
    expect_wire_type,
    last_submessage,
    read_fields,
    signed,
    submessages,
)

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Operator domains that are accepted."""
MAX_DEPTH = 16
"""Limit for nested graphs and for the axes of a tensor."""
MAX_NODES = 50_000
"""Limit for the operators of a file, including those of subgraphs."""
MAX_FIELDS = 200_000
"""Limit for the protobuf fields of a file, which bounds the time of a scan; included graphs have 6,500."""
MAX_ELEMENTS = 1 << 28
"""Limit for a tensor whose shape is stated in the file: 1 GiB of float32."""

_ITEM_BYTES = dict(enumerate([1, 4, 1, 1, 2, 2, 4, 8, 1, 1, 2, 8, 4, 8, 8, 16, 2]))
"""Bytes of an element by TensorProto.DataType; the types after bfloat16 need at most one byte."""
_INT64 = 7

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a graph.

    Attributes:
        name: Name of the tensor.
        shape: Its shape; a free axis is its name, or "?" if it has none.
    """

    name: str
    shape: Shape


@dataclass(frozen=True)
class OnnxInfo:
    """Content of an ONNX file.

    Attributes:
        opset: Version of the standard operator set.
        inputs: Inputs of the graph, without initializers.
        outputs: Outputs of the graph.
        nodes: Number of operators by type, including those of subgraphs.
        initializer_bytes: Size of all weights.
    """

    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: Mapping[str, int]
    initializer_bytes: int


def scan_onnx(data: bytes, name: str, budget: FieldBudget | None = None) -> OnnxInfo:
    """Scan a model file.

    Args:
        data: The bytes of the file.
        name: Name of the file in error messages.
        budget: Field limit shared by several files; MAX_FIELDS for this file alone by default.

    Raises:
        ModelError: The file is damaged, not an ONNX model, or unsafe.
    """
    try:
        return _Scan(budget or FieldBudget(MAX_FIELDS)).model(memoryview(data))
    except MalformedModelError as refused:
        raise ModelError(f"{name}: {refused}") from refused


def _elements(dims: list[int]) -> int:
    if len(dims) > MAX_DEPTH or any(dim < 0 for dim in dims):
        raise MalformedModelError("damaged: a tensor has a negative size or too many axes")
    return math.prod(dims)


class _Scan:
    """State of one scan: counts for the limits, and small integer tensors, which can be shapes."""

    def __init__(self, budget: FieldBudget) -> None:
        self._budget = budget
        self.nodes: Counter[str] = Counter()
        self._node_count = 0
        self.initializer_bytes = 0
        self.small_integers: dict[str, list[int]] = {}

    def model(self, data: memoryview) -> OnnxInfo:
        opsets: dict[str, int] = {}
        graphs = []
        for field in read_fields(data, self._budget):
            if field[0] == 7:
                expect_wire_type(field, BYTES)
                graphs.append(field[3])
            elif field[0] == 8:
                expect_wire_type(field, BYTES)
                domain, version = self._opset(field[3])
                opsets[domain] = version
            elif field[0] in (20, 25):
                raise MalformedModelError("contains functions or training steps, which are not supported")
        opset = opsets.get("", opsets.get("ai.onnx", 0))
        if len(graphs) != 1 or not opset:
            raise MalformedModelError("not an ONNX model: no graph or no operator set")
        inputs, outputs = self._graph(graphs[0], 0)
        return OnnxInfo(opset, inputs, outputs, dict(self.nodes), self.initializer_bytes)

    def _opset(self, data: memoryview) -> tuple[str, int]:
        domain, version = "", 0
        for field in read_fields(data, self._budget):
            if field[0] == 1:
                domain = as_string(field)
            elif field[0] == 2:
                expect_wire_type(field, VARINT)
                version = signed(field[2])
        return domain, version

    def _graph(self, data: memoryview, depth: int) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
        if depth > MAX_DEPTH:
            raise MalformedModelError(f"subgraphs are nested more than {MAX_DEPTH} deep")
        nodes, inputs, outputs, constants = [], [], [], set()
        for field in read_fields(data, self._budget):
            if field[0] in (1, 5, 11, 12, 15):
                expect_wire_type(field, BYTES)
            if field[0] == 1:
                nodes.append(field[3])
            elif field[0] == 5:
                constants.add(self._tensor(field[3]))
            elif field[0] == 11:
                inputs.append(_value_info(field[3], self._budget))
            elif field[0] == 12:
                outputs.append(_value_info(field[3], self._budget))
            elif field[0] == 15:
                raise MalformedModelError("contains sparse weights, which are not supported")
        # Initializers, which may follow the nodes, can define the size of an output, so they are read first.
        for node in nodes:
            self._node(node, depth)
        return tuple(one for one in inputs if one.name not in constants), tuple(outputs)

    def _node(self, data: memoryview, depth: int) -> None:
        op, domain, attributes, inputs, outputs = "", "", [], [], []
        for field in read_fields(data, self._budget):
            if field[0] == 1:
                inputs.append(as_string(field))
            elif field[0] == 2:
                outputs.append(as_string(field))
            elif field[0] == 4:
                op = as_string(field)
            elif field[0] == 5:
                expect_wire_type(field, BYTES)
                attributes.append(field[3])
            elif field[0] == 7:
                domain = as_string(field)
        if domain not in DOMAINS:
            raise MalformedModelError(
                f"uses the operator {op[:40]} of {domain[:40]}; only standard operators are supported"
            )
        if op == "EPContext":
            raise MalformedModelError("contains a compiled engine (EPContext), which is not supported")
        self.nodes[op] += 1
        self._node_count += 1
        if self._node_count > MAX_NODES:
            raise MalformedModelError(f"has more than {MAX_NODES} operators")
        for attribute in attributes:
            self._attribute(attribute, op, outputs[:1], depth)
        self._check_growth(op, inputs)

    def _attribute(self, data: memoryview, op: str, outputs: list[str], depth: int) -> None:
        integers: list[int] = []
        name = ""
        for field in read_fields(data, self._budget):
            if field[0] == 1:
                name = as_string(field)
            elif field[0] in (5, 10):
                expect_wire_type(field, BYTES)
                self._tensor(field[3], outputs[0] if op == "Constant" and outputs else None)
            elif field[0] in (6, 11):
                expect_wire_type(field, BYTES)
                self._graph(field[3], depth + 1)
            elif field[0] == 8 and len(field[3]) <= 160 and len(integers) <= 16:
                integers += as_integers(field)
            elif field[0] in (22, 23):
                raise MalformedModelError("contains sparse weights, which are not supported")
        if op.startswith("Random") and name == "shape":
            self._check_elements(op, integers)
        if op == "Constant" and name == "value_ints" and outputs:
            self.small_integers[outputs[0]] = integers

    def _check_growth(self, op: str, inputs: list[str]) -> None:
        """Refuse outputs of a known, excessive size, which an engine would allocate before it runs."""
        place = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}.get(op)
        if place is not None and place < len(inputs):
            self._check_elements(op, self.small_integers.get(inputs[place], []))

    def _check_elements(self, op: str, dims: list[int]) -> None:
        if math.prod(max(1, dim) for dim in dims) > MAX_ELEMENTS:
            raise MalformedModelError(f"{op} creates a tensor of more than {MAX_ELEMENTS} elements")

    def _tensor(self, data: memoryview, name: str | None = None) -> str:
        """Check one tensor, remember it if it can be a shape, and return its name."""
        dims: list[int] = []
        integers: list[int] = []
        kind, own_name, raw = 0, "", data[:0]
        for field in read_fields(data, self._budget):
            if field[0] == 1 and len(field[3]) <= 160:
                dims += as_integers(field)
            elif field[0] == 1:
                raise MalformedModelError("damaged: a tensor has too many axes")
            elif field[0] == 2:
                expect_wire_type(field, VARINT)
                kind = field[2]
            elif field[0] == 7 and len(field[3]) <= 160 and len(integers) <= 16:
                integers += as_integers(field)
            elif field[0] == 8:
                own_name = as_string(field)
            elif field[0] == 9:
                expect_wire_type(field, BYTES)
                raw = field[3]
            elif field[0] == 13 or (field[0] == 14 and field[1:3] != (VARINT, 0)):
                raise MalformedModelError("stores weights outside the file, which is not supported")
        self._check_size(dims, kind, len(data))
        if kind == _INT64 and _elements(dims) <= 16:
            self.small_integers[name or own_name] = integers or _int64s(raw[:128])
        return own_name

    def _check_size(self, dims: list[int], kind: int, size: int) -> None:
        count = _elements(dims)
        # At most two elements share a byte (4-bit weights).
        if count > 2 * size:
            raise MalformedModelError(f"a tensor claims {count} elements in {size} bytes")
        self.initializer_bytes += count * _ITEM_BYTES.get(kind, 1)


def _int64s(raw: memoryview) -> list[int]:
    return [int.from_bytes(raw[at : at + 8], "little", signed=True) for at in range(0, len(raw), 8)]


def _value_info(data: memoryview, budget: FieldBudget) -> TensorInfo:
    """Parse ValueInfoProto.name and .type.tensor_type.shape."""
    name, shape = "", list[int | str]()
    for field in read_fields(data, budget):
        if field[0] == 1:
            name = as_string(field)
        elif field[0] == 2:
            expect_wire_type(field, BYTES)
            tensor = last_submessage(field[3], 1, budget)
            dims = submessages(last_submessage(tensor, 2, budget), 1, budget)
            shape += [_dimension(dim, budget) for dim in dims]
    if len(shape) > MAX_DEPTH:
        raise MalformedModelError(f"{name[:40]} has more than {MAX_DEPTH} axes")
    if math.prod(dim for dim in shape if isinstance(dim, int)) > MAX_ELEMENTS:
        raise MalformedModelError(f"{name[:40]} has more than {MAX_ELEMENTS} elements")
    return TensorInfo(name, tuple(shape))


def _dimension(data: memoryview, budget: FieldBudget) -> int | str:
    result: int | str = "?"
    for field in read_fields(data, budget):
        if field[0] == 1:
            expect_wire_type(field, VARINT)
            result = max(0, signed(field[2]))
        elif field[0] == 2:
            result = as_string(field) or "?"
    return result
