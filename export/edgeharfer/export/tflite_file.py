"""Conversion of TensorFlow Lite files to ONNX graphs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgeharfer.export import backend
from edgeharfer.export.convert import OPSET
from edgeharfer.export.sparse_tflite import DENSIFY, make_dense
from edgeharfer.export.tf_operators import HANDLERS, check_operators
from edgeharfer.runtime.errors import EdgeharferError, ModelError, first_line
from edgeharfer.runtime.inference.manifest import MAX_MODEL_BYTES
from edgeharfer.runtime.inference.package import read_regular_file
from edgeharfer.runtime.inference.scan import scan_onnx

_IDENTIFIER = slice(4, 8), b"TFL3"
_LOOPS = ("WHILE", "IF", "CALL", "CALL_ONCE")
_CUSTOM = "CUSTOM"


def read_tflite(path: Path) -> bytes:
    """Read a TensorFlow Lite file.

    Raises:
        ModelError: It is another file, or too large.
    """
    data = read_regular_file(path.resolve(), MAX_MODEL_BYTES)
    where, expected = _IDENTIFIER
    if data[where] != expected:
        raise ModelError(f"{path}: damaged, or not a TensorFlow Lite model")
    return data


def tflite_to_onnx(data: bytes, name: str) -> Any:
    """Convert a TensorFlow Lite model to ONNX, with its quantization.

    Returns:
        A ModelProto that `scan_onnx` accepts, with the names of the file's inputs and outputs.

    Raises:
        ModelError: The file is damaged, or has operators that cannot be converted.
    """
    converter = backend.load("tf2onnx.convert")
    try:
        operators = _operators(data)
        for operator in operators:
            _check_operator(operator, name)
        with backend.quiet(), tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.tflite")
            file.write_bytes(make_dense(data) if DENSIFY in operators else data)
            model, _ = converter.from_tflite(str(file), opset=OPSET, custom_op_handlers=dict(HANDLERS))
        check_operators(model, name)
    except EdgeharferError:
        raise
    except Exception as error:  # flatbuffers and tf2onnx raise many types for damaged files.
        raise ModelError(f"{name}: cannot be converted to ONNX: {first_line(error)}") from error
    scan_onnx(model.SerializeToString(), name)
    return model


def _operators(data: bytes) -> set[str]:
    """Return the names of the operators of a model, and those of custom ones after "CUSTOM "."""
    kinds = vars(backend.load("tf2onnx.tflite.BuiltinOperator").BuiltinOperator)
    names = {value: key for key, value in kinds.items() if isinstance(value, int)}
    model = backend.load("tf2onnx.tflite.Model").Model.GetRootAsModel(bytearray(data), 0)
    found = set()
    for code in map(model.OperatorCodes, range(model.OperatorCodesLength())):
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        known = names.get(number, f"number {number}")
        found.add(f"{_CUSTOM} {(code.CustomCode() or b'?').decode()}" if known == _CUSTOM else known)
    return found


def _check_operator(operator: str, name: str) -> None:
    if operator.startswith(_CUSTOM):
        raise ModelError(
            f"{name}: uses the custom operator {operator.partition(' ')[2][:80]}: convert the model with "
            "built-in operators only, or export its Keras file"
        )
    if operator in _LOOPS:
        raise ModelError(
            f"{name}: contains control flow ({operator}), whose end cannot be checked: convert the model "
            "with unrolled layers, or export its Keras file"
        )
