"""Make `face-full-range` from the model that the mediapipe wheel carries.

    python -m edgeharfer.export.blazeface mediapipe-0.10.21-*.whl --out FOLDER

The full-range model keeps its weights sparse behind DENSIFY operators, which tf2onnx does not know.
So each sparse constant is written out in full, the operators are dropped, and the dense model is
converted. The weights are Google's, Apache-2.0; nothing of them is changed but their storage.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.manifest import FORMAT, FileSpec, InputSpec, Manifest
from edgeharfer.runtime.package import write_manifest

MEMBER = "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite"
SHA256 = "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1"
DENSIFY = "DENSIFY"
NAME = "face-full-range"
OPSET = 17

CARD = """\
# face-full-range

MediaPipe's full-range BlazeFace face detector, converted to ONNX without a change of its weights.

- **Origin**: `face_detection_full_range_sparse.tflite` from the mediapipe 0.10.21 wheel, by Google,
  Apache-2.0 (Bazarevsky et al. 2019, arXiv:1907.05047). Its sparse weights were written out in full.
- **Input**: 192x192 RGB in [-1, 1], aspect kept, black beside it. **Output**: 2304 boxes with six key points.
- **Equality**: outputs differ from TensorFlow Lite's on the original file by less than 1.5e-4.
- **Intended use**: finding faces within about five metres, to be followed while they stay in view.
- **Not for**: telling who somebody is. It knows nothing of identity, and nothing here does.
- **Limits**: faces smaller than about 4 % of the picture's longer side need the tiles that the runtime adds;
  profiles beyond about 60 degrees, strong back light and masks are missed more often.
"""


def read_member(wheel: Path) -> bytes:
    """The sparse tflite file inside a mediapipe wheel; a file that is not the known one is refused."""
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(MEMBER)
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{wheel}: {MEMBER} has SHA-256 {digest}, expected {SHA256}")
    return data


def make_dense(tflite: bytes) -> bytes:
    """The same model with every sparse constant expanded and no DENSIFY operator."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    graph = model.subgraphs[0]

    def operator_name(operator: Any) -> str:
        code = model.operatorCodes[operator.opcodeIndex]
        return names[max(code.builtinCode, code.deprecatedBuiltinCode)]

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
    """One sparse constant in full: TensorFlow Lite's block-sparse format (schema.fbs, SparsityParameters).

    The dimensions are walked in traversal order; a dense one counts, a sparse one lists its indices
    in compressed rows. Block dimensions, after the first ones, refine the original dimension they map to.
    """
    values = np.frombuffer(data, np.float16 if tensor.type == 1 else np.float32)
    shape = [int(size) for size in tensor.shape]
    sparsity = tensor.sparsity
    order = [int(index) for index in sparsity.traversalOrder]
    block_map = [] if sparsity.blockMap is None else [int(index) for index in sparsity.blockMap]
    levels = sparsity.dimMetadata
    block_sizes = {len(shape) + i: levels[order.index(len(shape) + i)].denseSize for i in range(len(block_map))}
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


def to_onnx(tflite: bytes) -> bytes:
    """The dense TensorFlow Lite model as ONNX, opset 17, standard operators, our names of inputs and outputs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import onnx
    import onnxslim
    import tf2onnx

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "dense.tflite")
        source.write_bytes(tflite)
        proto, _ = tf2onnx.convert.from_tflite(str(source), opset=OPSET)
    by_channels = {16: "boxes", 1: "scores"}
    names = {proto.graph.input[0].name: "image"}
    for output in proto.graph.output:
        names[output.name] = by_channels[output.type.tensor_type.shape.dim[2].dim_value]
    for value in (*proto.graph.input, *proto.graph.output):
        value.name = names[value.name]
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    proto.graph.name = NAME
    slim = onnxslim.slim(proto)
    onnx.checker.check_model(slim)
    return bytes(slim.SerializeToString())


def write_package(model: bytes, folder: Path) -> None:
    """The detector as a model package: manifest, graph and model card."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "MODELCARD.md").write_text(CARD, encoding="utf-8")
    file = FileSpec("model.onnx", len(model), hashlib.sha256(model).hexdigest())
    manifest = Manifest(
        format=FORMAT,
        name=NAME,
        task="faces",
        labels=("face",),
        input=InputSpec(width=192, height=192, color="rgb", normalize="symmetric"),
        output="logits",
        files={"fp32": {"model": file}},
        opset=OPSET,
        auto={"cpu": "fp32"},
        training={"by": "Google, MediaPipe", "license": "Apache-2.0", "source_sha256": SHA256},
    )
    write_manifest(folder, manifest)


@click.command()
@click.argument("wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the package.")
def main(wheel: Path, out: Path) -> None:
    """Convert the full-range face detector of a mediapipe WHEEL (0.10.21) into a model package."""
    write_package(to_onnx(make_dense(read_member(wheel))), out)


if __name__ == "__main__":
    main()
