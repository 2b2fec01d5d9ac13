"""Expansion of sparse weights in TensorFlow Lite models.

Sparse weights are followed by DENSIFY operators, which tf2onnx does not support. So each sparse constant is
expanded and the operators are removed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DENSIFY = "DENSIFY"


def make_dense(tflite: bytes) -> bytes:
    """Expand every sparse constant of a model and remove its DENSIFY operators."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    graph = model.subgraphs[0]

    def operator_name(operator: Any) -> str:
        code = model.operatorCodes[operator.opcodeIndex]
        return str(names[max(code.builtinCode, code.deprecatedBuiltinCode)])

    replaced: dict[int, int] = {}
    for operator in graph.operators:
        if operator_name(operator) == DENSIFY:
            tensor = graph.tensors[operator.inputs[0]]
            buffer = model.buffers[tensor.buffer]
            buffer.data = np.frombuffer(_expand(tensor, bytes(buffer.data)).tobytes(), np.uint8)
            tensor.sparsity = None
            replaced[operator.outputs[0]] = operator.inputs[0]
    graph.operators = [operator for operator in graph.operators if operator_name(operator) != DENSIFY]
    for operator in graph.operators:
        operator.inputs = [replaced.get(index, index) for index in operator.inputs]

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _expand(tensor: Any, data: bytes) -> NDArray[Any]:
    """Expand a sparse constant in TensorFlow Lite's block-sparse format (schema.fbs, SparsityParameters).

    Dimensions are visited in traversal order. A dense one has a size, a sparse one lists its indices in
    compressed rows. Block dimensions come last and subdivide the original dimension that they map to.
    """
    values = np.frombuffer(data, np.float16 if tensor.type == 1 else np.float32)
    shape = [int(size) for size in tensor.shape]
    sparsity = tensor.sparsity
    order = [int(index) for index in sparsity.traversalOrder]
    block_map = [] if sparsity.blockMap is None else [int(index) for index in sparsity.blockMap]
    levels = sparsity.dimMetadata
    block_sizes = {
        len(shape) + i: levels[order.index(len(shape) + i)].denseSize for i in range(len(block_map))
    }
    dense = np.zeros(shape, values.dtype)
    position = 0

    def walk(level: int, row: int, index: dict[int, int]) -> None:
        nonlocal position
        if level == len(levels):
            place = [index[axis] for axis in range(len(shape))]
            for block, axis in enumerate(block_map):
                place[axis] = place[axis] * block_sizes[len(shape) + block] + index[len(shape) + block]
            dense[tuple(place)] = values[position]
            position += 1
            return
        meta, axis = levels[level], order[level]
        if meta.format == 0:
            for i in range(meta.denseSize):
                walk(level + 1, row * meta.denseSize + i, {**index, axis: i})
            return
        segments, indices = meta.arraySegments.values, meta.arrayIndices.values
        for i in range(int(segments[row]), int(segments[row + 1])):
            walk(level + 1, i, {**index, axis: int(indices[i])})

    walk(0, 0, {})
    if position != values.size:
        raise ValueError(f"sparse tensor {tensor.name!r}: {position} of {values.size} values placed")
    return dense
