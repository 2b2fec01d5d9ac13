"""A look into ONNX bytes before any engine sees them, without the onnx package.

Walks the messages with the field numbers of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
and refuses what a model package never needs: data outside the file, custom operators, functions,
tensors larger than their bytes. What cannot be understood is refused too.
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
MAX_DEPTH = 16
"""Of graphs inside graphs, and of the axes of a tensor."""
MAX_NODES = 50_000
MAX_FIELDS = 200_000
"""Parts of a file: operators, their names, inputs and attributes, and so on; the graphs that ship have up to
6,500. They bound the time that a scan takes, whatever the file holds."""
MAX_ELEMENTS = 1 << 28
"""Of one tensor whose shape stands in the file: 1 GiB of float32."""

_ITEM_BYTES = dict(enumerate([1, 4, 1, 1, 2, 2, 4, 8, 1, 1, 2, 8, 4, 8, 8, 16, 2]))
"""By TensorProto.DataType; the kinds after bfloat16 take a byte or less."""
_INT64 = 7

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class TensorInfo:
    """A graph's input or output; a free axis is its name, or "?" without one."""

    name: str
    shape: Shape


@dataclass(frozen=True)
class OnnxInfo:
    """What a graph asks for and gives. `nodes` counts operators, those of subgraphs included."""

    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: Mapping[str, int]
    initializer_bytes: int


def scan_onnx(data: bytes, name: str, budget: FieldBudget | None = None) -> OnnxInfo:
    """Facts of a model file. `name` stands in errors. Raises ModelError for damaged or unsafe bytes.

    budget: shared by several files; MAX_FIELDS for this one alone where it is not given.
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
    """One walk through one model; keeps the counts that the limits need."""

    def __init__(self, budget: FieldBudget) -> None:
        self._budget = budget
        self.nodes: Counter[str] = Counter()
        self._node_count = 0
        self.initializer_bytes = 0
        self.known: dict[str, list[int]] = {}

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
                raise MalformedModelError("holds functions or training steps, which are not accepted")
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
            raise MalformedModelError(f"graphs stand inside each other more than {MAX_DEPTH} deep")
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
                raise MalformedModelError("holds sparse weights, which are not accepted")
        # After the initializers, which may stand behind the nodes and say how large an output gets.
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
                f"uses the operator {op[:40]} of {domain[:40]}; only standard operators are accepted"
            )
        if op == "EPContext":
            raise MalformedModelError("holds a compiled engine (EPContext), which is not accepted")
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
                raise MalformedModelError("holds sparse weights, which are not accepted")
        if op.startswith("Random") and name == "shape":
            self._check_elements(op, integers)
        if op == "Constant" and name == "value_ints" and outputs:
            self.known[outputs[0]] = integers

    def _check_growth(self, op: str, inputs: list[str]) -> None:
        """Refuse outputs of a known, absurd size, which an engine would allocate before it runs."""
        place = {"ConstantOfShape": 0, "Expand": 1, "Tile": 1}.get(op)
        if place is not None and place < len(inputs):
            self._check_elements(op, self.known.get(inputs[place], []))

    def _check_elements(self, op: str, dims: list[int]) -> None:
        if math.prod(max(1, dim) for dim in dims) > MAX_ELEMENTS:
            raise MalformedModelError(f"{op} asks for a tensor of more than {MAX_ELEMENTS} elements")

    def _tensor(self, data: memoryview, name: str | None = None) -> str:
        """Check one tensor and remember small integer ones, which can be shapes."""
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
                raise MalformedModelError("keeps weights outside its file, which is not accepted")
        self._check_size(dims, kind, len(data))
        if kind == _INT64 and _elements(dims) <= 16:
            self.known[name or own_name] = integers or _int64s(raw[:128])
        return own_name

    def _check_size(self, dims: list[int], kind: int, size: int) -> None:
        count = _elements(dims)
        # Two elements share a byte at most (4-bit weights).
        if count > 2 * size:
            raise MalformedModelError(f"a tensor claims {count} elements in {size} bytes")
        self.initializer_bytes += count * _ITEM_BYTES.get(kind, 1)


def _int64s(raw: memoryview) -> list[int]:
    return [int.from_bytes(raw[at : at + 8], "little", signed=True) for at in range(0, len(raw), 8)]


def _value_info(data: memoryview, budget: FieldBudget) -> TensorInfo:
    """ValueInfoProto.name and .type.tensor_type.shape."""
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
