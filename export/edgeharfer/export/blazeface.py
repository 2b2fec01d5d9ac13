"""Convert the face detectors of the mediapipe wheel to the packages `face-full-range` and `face-short-range`.

    python -m edgeharfer.export.blazeface mediapipe-0.10.21-*.whl --out runtime/edgeharfer/models

The weights are Google's (Apache-2.0) and keep their values. The full-range model stores them in a sparse
form that ONNX does not have, so they are expanded. Outputs are compared with those of TensorFlow Lite on
the original file, and a package that differs is not written.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from edgeharfer.export.sparse_tflite import make_dense
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import FORMAT, FileSpec, InputSpec, Manifest
from edgeharfer.runtime.inference.package import write_manifest
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.source.demo import HEIGHT, WIDTH, DemoSource
from edgeharfer.runtime.types import Floats

if TYPE_CHECKING:
    import onnx

FOLDER_IN_WHEEL = "mediapipe/modules/face_detection"
OPSET = 17
MAX_DIFFERENCE = 1e-3
"""Largest accepted difference from TensorFlow Lite: boxes in pixels of the input, scores as logits."""
PARITY_FRAMES = 10
"""Number of frames, and of noise pictures, on which the outputs are compared."""


@dataclass(frozen=True)
class TfliteFile:
    """A tflite file in the wheel and how it is converted.

    Attributes:
        name: Name of the package.
        file: File name in the wheel.
        sha256: Hash of the file.
        side: Side of the input in pixels.
        sparse: Whether its weights must be expanded.
        free: Whether the side of the input is left free, which a fully convolutional network allows.
        ships: Whether the package also contains the file itself, for the mediapipe library, whose later
            wheels contain no model.
        about: Lines of the model card.
    """

    name: str
    file: str
    sha256: str
    side: int
    sparse: bool
    free: bool
    ships: bool
    about: str


ORIGINALS = (
    TfliteFile(
        name="face-full-range",
        file="face_detection_full_range_sparse.tflite",
        sha256="2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        side=192,
        sparse=True,
        free=True,
        ships=False,
        about="""\
- **Output**: 2304 boxes with six key points each, in pixels of the input, and their scores as logits.
- **Change**: its sparse weights are expanded, with the same values. The side of the input is left free:
  a known face is followed in a crop of 96x96 pixels.
- **Intended use**: detection of faces within about five metres, for tracking while they stay in view.
- **Limits**: of webcam faces pasted into 640x480 scenes it finds all from 15 % of the width on, 82 % at 8 %,
  about half at 6 %; for smaller ones the runtime searches tiles. Profiles beyond about 60 degrees,
  strong back light and masks are missed more often.
""",
    ),
    TfliteFile(
        name="face-short-range",
        file="face_detection_short_range.tflite",
        sha256="bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
        side=128,
        sparse=False,
        free=False,
        ships=True,
        about="""\
- **Output**: 896 boxes with six key points each, in pixels of the input, and their scores as logits.
- **Change**: its half-precision weights are stored as 32-bit floats, with the same values. The package also
  contains the original file for `--detector mediapipe`, because that library does not include a model.
- **Intended use**: faces within about two metres, as with a phone; the full-range model is the default.
- **Limits**: of webcam faces pasted into 640x480 scenes it finds all from 15 % of the width on, 58 % at 12 %,
  24 % at 10 % and none at 8 %, so it loses people who lean back. Profiles beyond about 60 degrees,
  strong back light and masks are missed more often.
""",
    ),
)

CARD = """\
# {name}

MediaPipe's BlazeFace face detector, converted to ONNX with unchanged weights.

- **Origin**: `{file}` from the mediapipe 0.10.21 wheel, by Google, Apache-2.0
  (Bazarevsky et al. 2019, arXiv:1907.05047).
- **Input**: {side}x{side} RGB in [-1, 1], aspect kept, padded with black.
{about}\
- **Equality**: over {frames} pictures of the demo source and {frames} of noise, outputs differ from
  TensorFlow Lite's on the original file by at most {boxes:.1e} pixels and {scores:.1e} in the logit.
- **Not for**: identification. It does not distinguish people, and nothing in edgeharfer does.
"""


def read_member(wheel: Path, original: TfliteFile) -> bytes:
    """Read a tflite file from a mediapipe wheel.

    Raises:
        ValueError: The file is not the expected one.
    """
    member = f"{FOLDER_IN_WHEEL}/{original.file}"
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(member)
    digest = hashlib.sha256(data).hexdigest()
    if digest != original.sha256:
        raise ValueError(f"{wheel}: {member} has SHA-256 {digest}, expected {original.sha256}")
    return data


def to_onnx(tflite: bytes, name: str, *, free: bool = False) -> bytes:
    """Convert a dense TensorFlow Lite model to ONNX (opset 17, standard operators), reproducibly.

    Args:
        tflite: The model file.
        name: Name of the graph.
        free: Leave the side of the input free.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import onnx
    import onnxslim
    import tf2onnx

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "dense.tflite")
        source.write_bytes(tflite)
        proto, _ = tf2onnx.convert.from_tflite(str(source), opset=OPSET)
    slim = onnxslim.slim(proto)
    _rename(slim, name)
    if free:
        _free_side(slim)
    onnx.checker.check_model(slim)
    return bytes(slim.SerializeToString(deterministic=True))


def _rename(proto: onnx.ModelProto, name: str) -> None:
    """Rename inputs and outputs, and number the other tensors: tf2onnx's names differ from run to run."""
    graph = proto.graph
    graph.name = name
    by_channels = {16: "boxes", 1: "scores"}
    names = {graph.input[0].name: "image", "": ""}
    for output in graph.output:
        names[output.name] = by_channels[output.type.tensor_type.shape.dim[2].dim_value]
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{number}"
        for value in (*node.input, *node.output):
            names.setdefault(value, f"v{len(names)}")
        node.input[:] = [names[value] for value in node.input]
        node.output[:] = [names[value] for value in node.output]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names[value.name]
    weights = sorted(graph.initializer, key=lambda tensor: int(tensor.name[1:]))
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(weights)


def _free_side(proto: onnx.ModelProto) -> None:
    """Make height and width of the input, and the number of boxes, symbolic dimensions."""
    for axis in (1, 2):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "side"
    for output in proto.graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = "boxes"


def differences(tflite: bytes, model: bytes, side: int) -> dict[str, float]:
    """Return the largest differences between TensorFlow Lite and ONNX Runtime, of boxes and of scores."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    session = make_session(Graph.scan(model))
    indices = {int(one["shape"][2]): one["index"] for one in interpreter.get_output_details()}
    found = {"boxes": 0.0, "scores": 0.0}
    for picture in parity_pictures(side):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None])
        interpreter.invoke()
        outputs = session.run({"image": picture[None]})
        for key, channels in (("boxes", 16), ("scores", 1)):
            delta = np.abs(outputs[key] - interpreter.get_tensor(indices[channels])).max()
            found[key] = max(found[key], float(delta))
    return found


def parity_pictures(side: int) -> Floats:
    """Return letterboxed frames of the demo source, and noise, float32 (n, side, side, 3)."""
    demo = DemoSource(ManualClock())
    bar = (WIDTH - HEIGHT) // 2
    faces = [
        np.pad(demo.picture(37 * number), ((bar, bar), (0, 0), (0, 0))) for number in range(PARITY_FRAMES)
    ]
    noise = np.random.default_rng(0).uniform(-1, 1, (PARITY_FRAMES, side, side, 3)).astype(np.float32)
    return np.concatenate([preprocess_images(faces, InputSpec(side, side, "rgb", "symmetric")), noise])


def write_package(original: TfliteFile, tflite: bytes, folder: Path) -> None:
    """Write a detector as a model package: manifest, graph and model card.

    Raises:
        ValueError: The converted graph differs from TensorFlow Lite by more than MAX_DIFFERENCE.
    """
    model = to_onnx(make_dense(tflite) if original.sparse else tflite, original.name, free=original.free)
    delta = differences(tflite, model, original.side)
    if max(delta.values()) > MAX_DIFFERENCE:
        raise ValueError(f"{original.name}: the converted graph differs from TensorFlow Lite by {delta}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "MODELCARD.md").write_text(_card(original, delta), encoding="utf-8")
    options = {"tflite": vars(_file(folder / original.file, tflite))} if original.ships else {}
    manifest = Manifest(
        format=FORMAT,
        name=original.name,
        task="faces",
        labels=("face",),
        input=InputSpec(original.side, original.side, "rgb", "symmetric"),
        output="logits",
        files={"fp32": {"model": _file(folder / "model.onnx", model)}},
        opset=OPSET,
        auto={"cpu": "fp32"},
        options=options,
        training={"by": "Google, MediaPipe", "license": "Apache-2.0", "source_sha256": original.sha256},
    )
    write_manifest(folder, manifest)


def _file(path: Path, data: bytes) -> FileSpec:
    path.write_bytes(data)
    return FileSpec(path.name, len(data), hashlib.sha256(data).hexdigest())


def _card(original: TfliteFile, delta: Mapping[str, float]) -> str:
    facts = {"name": original.name, "file": original.file, "side": original.side, "about": original.about}
    return CARD.format(**facts, frames=PARITY_FRAMES, **delta)


@click.command()
@click.argument("wheel", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder that gets the packages.")
def main(wheel: Path, out: Path) -> None:
    """Convert the face detectors of a mediapipe WHEEL (0.10.21) into model packages."""
    for original in ORIGINALS:
        write_package(original, read_member(wheel, original), out / original.name)
        click.echo(f"wrote {out / original.name}")


if __name__ == "__main__":
    main()
