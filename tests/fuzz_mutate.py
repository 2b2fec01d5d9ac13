"""Damage on purpose: bytes, JSON, TOML and ONNX graphs, changed by chance from a seed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 65_536, 10**30, -0.5, 1e308, 1e-320, float("nan"), float("inf")),
    *("", " ", "x" * 5000, "../../up", "a\0b", "\ud7ff\u2028", "9" * 5000, "AAAA", "off", "%s%n"),
    *([], {}, [[[[]]]], {"file": "../up", "bytes": 1}, [1] * 300, {"": ""}),
)
ODD_TOML = (
    "",
    "nan",
    "-inf",
    "1e999",
    "[]",
    "{}",
    "[[1]]",
    "'x'",
    '"\\u0000"',
    "1979-05-27",
    "0x7fffffffffffffff",
)
OPERATORS = (
    *(
        "Identity",
        "Softmax",
        "Gemm",
        "Conv",
        "LSTM",
        "Resize",
        "Pad",
        "Tile",
        "Expand",
        "Range",
        "Loop",
        "Scan",
    ),
    *(
        "Reshape",
        "Gather",
        "ScatterND",
        "TopK",
        "NonMaxSuppression",
        "OneHot",
        "Einsum",
        "SequenceAt",
        "If",
        "",
    ),
    *("ConstantOfShape", "MaxPool", "QuantizeLinear", "StringNormalizer", "Slice", "Split", "Concat", "Cast"),
)


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """One to four changes: flips, odd numbers, cuts, repeats, blocks moved or zeroed."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        chance.choice(_BYTE_CHANGES)(out, chance)
    return bytes(out)


def mutate_json(text: str, chance: random.Random) -> str:
    """One value somewhere in a JSON text replaced, taken away or doubled; sometimes only its bytes change."""
    if chance.random() < 0.3:
        return mutate_bytes(text.encode(), chance).decode("latin-1")
    root = json.loads(text)
    for _ in range(chance.randint(1, 2)):
        _change_value(root, chance)
    return json.dumps(root)


def mutate_lines(text: str, chance: random.Random) -> str:
    """One of a file of JSON lines changed, lost, doubled, torn or moved."""
    lines = text.splitlines()
    at = chance.randrange(len(lines))
    what = chance.randrange(8)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, chance.choice(lines))
    elif what == 2:
        lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
    elif what == 3:
        lines[at] = json.dumps(chance.choice(ODD))
    else:
        lines[at] = mutate_json(lines[at], chance)
    return "\n".join(lines) + chance.choice(["\n", "\n", ""])


def mutate_toml(text: str, chance: random.Random) -> str:
    """One line of a TOML file given another value, taken away or doubled; sometimes only its bytes change."""
    if chance.random() < 0.3:
        return mutate_bytes(text.encode(), chance).decode("latin-1")
    lines = text.splitlines()
    at = chance.choice([number for number, line in enumerate(lines) if line.strip() and line[0] != "#"])
    key, equals, _ = lines[at].partition("=")
    what = chance.randrange(4)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(at, lines[at])
    elif what == 2 and equals:
        other = chance.choice([line for line in lines if "=" in line])
        lines[at] = f"{key}={other.partition('=')[2]}"
    elif equals:
        lines[at] = f"{key}= {chance.choice(ODD_TOML)}"
    else:
        lines[at] = chance.choice(["[x]", "[[models]]", "[", f"[{'a.' * 200}b]"])
    return "\n".join(lines) + "\n"


def mutate_graph(data: bytes, chance: random.Random) -> bytes:
    """An ONNX model with one part that makes no sense, or with changed bytes."""
    if chance.random() < 0.3:
        return mutate_bytes(data, chance)
    model = onnx.load_model_from_string(data)
    for _ in range(chance.randint(1, 2)):
        chance.choice(_GRAPH_CHANGES)(model, chance)
    return bytes(model.SerializeToString())


def _flip(out: bytearray, chance: random.Random) -> None:
    if out:
        out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)


def _number(out: bytearray, chance: random.Random) -> None:
    size = chance.choice([1, 2, 4])
    value = chance.choice(INTERESTING) & (1 << 8 * size) - 1
    at = chance.randrange(len(out) + 1)
    out[at : at + size] = value.to_bytes(size, chance.choice(["little", "big"]))


def _cut(out: bytearray, chance: random.Random) -> None:
    del out[chance.randrange(len(out) + 1) :]


def _block(out: bytearray, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(out) + 1)
    return start, min(len(out), start + chance.randint(1, 64))


def _lose(out: bytearray, chance: random.Random) -> None:
    start, end = _block(out, chance)
    del out[start:end]


def _zero(out: bytearray, chance: random.Random) -> None:
    start, end = _block(out, chance)
    out[start:end] = bytes(end - start)


def _repeat(out: bytearray, chance: random.Random) -> None:
    start, end = _block(out, chance)
    at = chance.randrange(len(out) + 1)
    out[at:at] = out[start:end] * chance.choice([1, 1, 50])


def _noise(out: bytearray, chance: random.Random) -> None:
    start, end = _block(out, chance)
    out[start:end] = chance.randbytes(end - start)


_BYTE_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _flip, _number, _number, _cut, _lose, _zero, _repeat, _noise),
)


def _change_value(root: Any, chance: random.Random) -> None:
    """Walk down at random and change what is there."""
    here, key = root, None
    while True:
        keys: list[Any] = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return
        key = chance.choice(keys)
        if not isinstance(here[key], dict | list) or chance.random() < 0.2:
            break
        here = here[key]
    what = chance.randrange(6)
    if what == 0:
        del here[key]
    elif what == 1 and isinstance(here, dict):
        here[chance.choice(["x", key + "x", "file", "__class__"])] = here[key]
    elif what == 2 and isinstance(here, list):
        here.insert(key, here[key])
    elif what == 3 and isinstance(here[key], int | float):
        here[key] = here[key] * chance.choice([-1, 0, 2, 1e6]) + chance.choice([-1, 0, 1, 0.5])
    else:
        here[key] = chance.choice(ODD)


def _a_node(model: onnx.ModelProto, chance: random.Random) -> onnx.NodeProto:
    nodes: list[onnx.NodeProto] = list(model.graph.node) or [model.graph.node.add()]
    return nodes[chance.randrange(len(nodes))]


def _a_name(model: onnx.ModelProto, chance: random.Random) -> str:
    names = [str(name) for node in model.graph.node for name in (*node.input, *node.output)]
    return chance.choice([*names, "", "nobody"])


def _operator(model: onnx.ModelProto, chance: random.Random) -> None:
    _a_node(model, chance).op_type = chance.choice(OPERATORS)


def _wiring(model: onnx.ModelProto, chance: random.Random) -> None:
    node = _a_node(model, chance)
    names = chance.choice([node.input, node.output])
    if names and chance.random() < 0.7:
        names[chance.randrange(len(names))] = _a_name(model, chance)
    else:
        names.append(_a_name(model, chance))


def _attribute(model: onnx.ModelProto, chance: random.Random) -> None:
    node = _a_node(model, chance)
    value = chance.choice([-1, 0, 1, 7, 2**31 - 1, 2**62, -(2**63), [0], [-1, 3], [2**40] * 2, 0.5, "x"])
    name = chance.choice([*(one.name for one in node.attribute), "axis", "axes", "keepdims", "to", "shape"])
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def _weights(model: onnx.ModelProto, chance: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = chance.choice(model.graph.initializer)
    what = chance.randrange(4)
    if what == 0:
        tensor.data_type = chance.randrange(0, 24)
    elif what == 1:
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
    elif what == 2:
        tensor.dims.append(chance.choice([0, 1, -1, 2**40]))
    else:
        tensor.raw_data = mutate_bytes(tensor.raw_data, chance)


def _shape(model: onnx.ModelProto, chance: random.Random) -> None:
    value = chance.choice([*model.graph.input, *model.graph.output])
    dims = value.type.tensor_type.shape.dim
    if dims and chance.random() < 0.7:
        chance.choice(dims).dim_value = chance.choice([0, 1, -1, 5, 2**20, 2**62])
    else:
        value.type.tensor_type.elem_type = chance.randrange(0, 24)


def _nodes(model: onnx.ModelProto, chance: random.Random) -> None:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    chance.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes[chance.randrange(2) :] + nodes[: chance.randrange(2)])


def _bomb(model: onnx.ModelProto, chance: random.Random) -> None:
    """A few bytes that ask for gigabytes when they run, through a shape that is computed."""
    side = chance.choice([2**15, 2**18, 2**31])
    sides = onnx.numpy_helper.from_array(np.array([side, side], np.int64), "sides")
    one = onnx.numpy_helper.from_array(np.array([1], np.int64), "one")
    model.graph.initializer.extend([sides, one])
    make = onnx.helper.make_node
    grown = make("ConstantOfShape", ["grown_sides"], ["grown"])
    small = make("ReduceMean", ["grown"], ["small"], keepdims=0)
    end = model.graph.node[-1]
    last, end.output[0] = end.output[0], "almost"
    added = [
        make("Mul", ["sides", "one"], ["grown_sides"]),
        grown,
        small,
        make("Add", ["almost", "small"], [last]),
    ]
    model.graph.node.extend(added)


def _versions(model: onnx.ModelProto, chance: random.Random) -> None:
    odd = chance.choice([0, 1, 6, 99, -1, 2**62])
    if chance.random() < 0.5:
        model.ir_version = odd
    else:
        model.opset_import[0].version = odd


_GRAPH_CHANGES: tuple[Callable[[onnx.ModelProto, random.Random], None], ...] = (
    *(_operator, _wiring, _attribute, _attribute, _weights, _shape, _nodes, _bomb, _versions),
)
