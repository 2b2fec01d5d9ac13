"""Reading of ONNX files from other tools, with weights in separate files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edgeharfer.calib.nodes import subgraphs
from edgeharfer.export import backend
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.manifest import MAX_MODEL_BYTES
from edgeharfer.runtime.inference.package import read_regular_file
from edgeharfer.runtime.inference.scan import scan_onnx

_LOOPS = ("Loop", "Scan", "SequenceMap")


def read_onnx(path: Path) -> Any:
    """Read an ONNX model and embed its external data.

    External data (https://github.com/onnx/onnx/blob/main/docs/ExternalData.md) is read only from regular
    files in the folder of the model; a link must not lead out of it.

    Returns:
        A ModelProto without functions and external data, which `scan_onnx` accepts.

    Raises:
        ModelError: The file is damaged, unsafe or too large, or external data is missing.
    """
    onnx = backend.load("onnx")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(read_regular_file(path.resolve(), MAX_MODEL_BYTES))
    except backend.load("google.protobuf.message").DecodeError as error:
        raise ModelError(f"{path}: damaged, or not an ONNX model") from error
    _embed(model, path)
    del model.training_info[:]
    if model.functions:
        model = backend.load("onnx.inliner").inline_local_functions(model)
    size = model.ByteSize()
    if size > MAX_MODEL_BYTES:
        raise ModelError(f"{path}: {size} bytes with its weights, more than the limit of {MAX_MODEL_BYTES}")
    info = scan_onnx(model.SerializeToString(), str(path))
    if loops := sorted(set(_LOOPS) & set(info.nodes)):
        raise ModelError(
            f"{path}: contains a loop ({loops[0]}), whose end cannot be checked: "
            "export the model with its loops unrolled"
        )
    return model


def tensors(graph: Any) -> Iterator[Any]:
    """Yield all constant tensors of a graph and of its subgraphs."""
    yield from graph.initializer
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for graph in subgraphs(node):
            yield from tensors(graph)


def _embed(model: Any, path: Path) -> None:
    """Read the external data of all tensors into the model."""
    external = backend.load("onnx").TensorProto.EXTERNAL
    files: dict[str, bytes] = {}
    room, embedded = MAX_MODEL_BYTES, 0
    functions = (one for function in model.functions for one in _in_nodes(function.node))
    for tensor in (*tensors(model.graph), *functions):
        if tensor.data_location != external:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}
        location = where.get("location", "")
        if location not in files:
            files[location] = read_regular_file(_beside(path, location), room)
            room -= len(files[location])
        content = _part(files[location], where, tensor, f"{path}: external data {location[:80]!r}")
        embedded += len(content)
        if embedded > MAX_MODEL_BYTES:
            raise ModelError(f"{path}: its weights take more than the limit of {MAX_MODEL_BYTES} bytes")
        tensor.raw_data = content
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _beside(path: Path, location: str) -> Path:
    """Return the file of external data.

    Raises:
        ModelError: It is missing or not inside the folder of the model.
    """
    folder = path.parent.resolve()
    where = f"{path}: external data {location[:80]!r}"
    parts = {*PurePosixPath(location).parts, *PureWindowsPath(location).parts}
    absolute = PureWindowsPath(location).anchor or PurePosixPath(location).anchor
    if not location or absolute or ".." in parts or "\0" in location:
        raise ModelError(f"{where}: not a file in the folder of the model: save the model again")
    found = (folder / location).resolve()
    if not found.is_relative_to(folder):
        raise ModelError(f"{where}: a link to a place outside the folder of the model: copy the file into it")
    if not found.is_file():
        raise ModelError(f"{where}: no such file: copy it into the folder of the model")
    return found


def _part(data: bytes, where: dict[str, str], tensor: Any, name: str) -> bytes:
    """Return the bytes of one tensor.

    Raises:
        ModelError: Offset or length do not fit the file or the shape.
    """
    helper = backend.load("onnx.helper")
    try:
        start, item = int(where.get("offset", 0)), helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        wanted = math.prod(tensor.dims) * item
        length = int(where.get("length", wanted))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{name}: damaged entry of {tensor.name[:80]!r}: save the model again") from error
    if length != wanted or min(start, *tensor.dims, 0) < 0 or start + length > len(data):
        raise ModelError(
            f"{name}: {len(data)} bytes are too few for {tensor.name[:80]!r}: copy the file or save "
            "the model again"
        )
    return data[start : start + length]
