"""Facts of ONNX and TensorFlow Lite files, read without running them."""

from __future__ import annotations

import io
import math
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeharfer.export import backend
from edgeharfer.export.inspection.description import ModelDescription, Shape, TensorDescription
from edgeharfer.runtime.errors import ModelError, first_line
from edgeharfer.runtime.inference.manifest import MAX_MODEL_BYTES
from edgeharfer.runtime.inference.package import read_regular_file

_ARITHMETIC = ("Sub", "Div", "Mul", "Add", "BatchNormalization")
_PASSING = (
    "Cast",
    "Transpose",
    "Identity",
    "Reshape",
    "Unsqueeze",
    "Squeeze",
    "QuantizeLinear",
    "DequantizeLinear",
)
_SHAPING = (
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Flatten",
    "Identity",
    "Cast",
    "DequantizeLinear",
    "QuantizeLinear",
)
_ENDINGS = {"Softmax": "softmax", "SOFTMAX": "softmax", "Sigmoid": "sigmoid", "LOGISTIC": "sigmoid",
            "Gemm": "logits", "MatMul": "logits", "Add": "logits", "FULLY_CONNECTED": "logits"}  # fmt: skip
_MAX_LABELS_BYTES = 1024 * 1024


def ending_of(operator: str) -> str:
    """Return what the last operator makes of the scores: "softmax", "sigmoid", "logits", or its own name."""
    return _ENDINGS.get(operator, operator)


def describe_onnx(path: Path) -> ModelDescription:
    """Describe an ONNX file. External data is not read.

    Raises:
        ModelError: The file is damaged or too large.
    """
    onnx = backend.load("onnx")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(read_regular_file(path.resolve(), MAX_MODEL_BYTES))
    except Exception as error:  # protobuf's errors differ by implementation
        raise ModelError(f"{path}: damaged, or not an ONNX model: {first_line(error)}") from error
    graph, weights = model.graph, {one.name for one in model.graph.initializer}
    opsets = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
    producer = " ".join(part for part in (model.producer_name, model.producer_version) if part)
    external = any(one.data_location == onnx.TensorProto.EXTERNAL for one in graph.initializer)
    inputs = [_tensor(onnx, one) for one in graph.input if one.name not in weights]
    return ModelDescription(
        str(path),
        "onnx",
        ", ".join([*([producer] if producer else []), f"opset {max(opsets, default=0)}"]),
        inputs,
        [_tensor(onnx, one) for one in graph.output],
        operators=dict(Counter(node.op_type for node in graph.node)),
        parameters=sum(math.prod(one.dims) for one in graph.initializer),
        size_bytes=path.stat().st_size,
        scaling=_onnx_scaling(graph, inputs[0].name if inputs else ""),
        ending=_onnx_ending(graph),
        labels=_onnx_labels(model),
        notes=["its weights are in separate files (external data)"] if external else [],
    ).completed()


def _tensor(onnx: Any, value: Any) -> TensorDescription:
    tensor = value.type.tensor_type
    shape: Shape = tuple(
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or None for axis in tensor.shape.dim
    )
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    except (KeyError, TypeError):
        dtype = "no tensor"
    return TensorDescription(value.name, shape, dtype)


def _onnx_scaling(graph: Any, feed: str) -> list[str]:
    """Return the arithmetic between the input and the first layer."""
    found: list[str] = []
    while True:
        users = [node for node in graph.node if feed in node.input]
        if len(users) != 1 or users[0].op_type not in (*_ARITHMETIC, *_PASSING):
            return found
        if users[0].op_type in _ARITHMETIC:
            found.append(users[0].op_type)
        feed = users[0].output[0]


def _onnx_ending(graph: Any) -> str | None:
    makers = {output: node for node in graph.node for output in node.output}
    node = makers.get(graph.output[0].name) if graph.output else None
    while node is not None and node.op_type in _SHAPING:
        node = makers.get(node.input[0])
    return None if node is None else ending_of(node.op_type)


def _onnx_labels(model: Any) -> dict[str, list[str]]:
    """Return class names in the metadata: {0: 'angry', ...} as Ultralytics writes, or one a line."""
    found = {}
    for entry in model.metadata_props:
        if entry.key.lower() in ("names", "labels", "classes", "class_names"):
            names = [part.partition(":")[2] or part for part in entry.value.strip("{}[]").split(",")]
            names = (
                [name.strip().strip("'\"") for name in names] if "," in entry.value else entry.value.split()
            )
            if len(names) > 1:
                found[f"its metadata ({entry.key})"] = names
    return found


def describe_tflite(path: Path) -> ModelDescription:
    """Describe a TensorFlow Lite file.

    Raises:
        ModelError: The file is damaged or too large.
    """
    data = read_regular_file(path.resolve(), MAX_MODEL_BYTES)
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path}: damaged, or not a TensorFlow Lite model")
    try:
        return _from_flatbuffer(path, data)
    except Exception as error:  # flatbuffers raises many types for damaged files
        raise ModelError(f"{path}: damaged: {first_line(error)}") from error


def _from_flatbuffer(path: Path, data: bytes) -> ModelDescription:
    model = backend.load("tf2onnx.tflite.Model").Model.GetRootAsModel(bytearray(data), 0)
    graph = model.Subgraphs(0)
    kinds = _names(backend.load("tf2onnx.tflite.BuiltinOperator").BuiltinOperator)
    types = _names(backend.load("tf2onnx.tflite.TensorType").TensorType)

    def operator(number: int) -> str:
        code = model.OperatorCodes(graph.Operators(number).OpcodeIndex())
        known = kinds.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "?")
        return f"CUSTOM {(code.CustomCode() or b'?').decode()}" if known == "CUSTOM" else known

    def tensor(number: int) -> TensorDescription:
        one = graph.Tensors(number)
        free = [one.ShapeSignature(i) < 0 for i in range(one.ShapeSignatureLength())]
        sizes = [one.Shape(i) for i in range(one.ShapeLength())]
        shape = tuple(None if i < len(free) and free[i] else size for i, size in enumerate(sizes))
        return TensorDescription((one.Name() or b"").decode(), shape, types[one.Type()].lower())

    def constants() -> Iterator[int]:
        for number in range(graph.TensorsLength()):
            one = graph.Tensors(number)
            if model.Buffers(one.Buffer()).DataLength():
                yield math.prod(one.Shape(i) for i in range(one.ShapeLength()))

    operators = [operator(number) for number in range(graph.OperatorsLength())]
    return ModelDescription(
        str(path),
        "tflite",
        (model.Description() or b"").decode() or None,
        [tensor(graph.Inputs(i)) for i in range(graph.InputsLength())],
        [tensor(graph.Outputs(i)) for i in range(graph.OutputsLength())],
        operators=dict(Counter(operators)),
        parameters=sum(constants()),
        size_bytes=len(data),
        scaling=_first_arithmetic(operators),
        ending=_last(operators),
        labels=_tflite_labels(data),
    ).completed()


def _names(enumeration: Any) -> dict[int, str]:
    return {value: key for key, value in vars(enumeration).items() if isinstance(value, int)}


def _first_arithmetic(operators: Sequence[str]) -> list[str]:
    """Return the arithmetic before the first layer; operators stand in the order of execution."""
    found = []
    for operator in operators:
        if operator in ("SUB", "DIV", "MUL", "ADD"):
            found.append(operator)
        elif operator not in ("CAST", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "TRANSPOSE"):
            break
    return found


def _last(operators: Sequence[str]) -> str | None:
    rest = [one for one in operators if one not in ("RESHAPE", "SQUEEZE", "QUANTIZE", "DEQUANTIZE", "CAST")]
    return ending_of(rest[-1]) if rest else None


def _tflite_labels(data: bytes) -> Mapping[str, list[str]]:
    """Return the label files in the metadata, which are a zip archive at the end of the file."""
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for one in archive.infolist():
                if one.filename.lower().endswith(".txt") and one.file_size <= _MAX_LABELS_BYTES:
                    names = archive.read(one).decode("utf-8", "replace").splitlines()
                    found[f"its metadata ({one.filename})"] = [name.strip() for name in names if name.strip()]
    except zipfile.BadZipFile:
        return {}
    return found
