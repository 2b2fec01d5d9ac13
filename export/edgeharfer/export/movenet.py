"""Convert the published 8-bit MoveNet Lightning to the package `pose`.

    python -m edgeharfer.export.movenet movenet_single_pose_lightning_ptq.tflite --clips DIR \\
        --out runtime/edgeharfer/models/pose

The weights are Google's (Apache-2.0). The file stores them, and the ranges of all activations, in eight bits.
The FP32 graph has the same weights as floats and does not round activations. The INT8 graph is quantized
from it for ONNX Runtime, with ranges measured on frames of the clips, which are not stored.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from edgeharfer.calib.graphs import StaticQuantizer
from edgeharfer.calib.recipes import CALIBRATORS, Recipe
from edgeharfer.evaluate.golden import write_golden
from edgeharfer.export.package_files import Files, file_specs, to_graph, write_graphs
from edgeharfer.export.tflite_names import rename_tensors
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import CPU_WITHOUT_VNNI, FORMAT, InputSpec, Manifest, ValueSpec
from edgeharfer.runtime.inference.package import load_package, verify_package, write_manifest
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.staging import replaced_folder
from edgeharfer.runtime.tasks.joints import JOINTS
from edgeharfer.runtime.tasks.movenet import pad_to_square
from edgeharfer.runtime.types import Floats, Image

if TYPE_CHECKING:
    import onnx

SHA256 = "cd7cc22fa946e5d146a7b98d496853e1923e22828d3972d579973f27f91bb105"
"""Hash of the published file."""
OPSET = 17
SIDE = 192
PICTURE = InputSpec(SIDE, SIDE, "rgb", "none")
QUANTIZED = slice(2, 52)
"""The convolutions that are quantized: those of the backbone except the first two.

Measured with one thread, in inferences of the 112 px MobileNetV2: 2.9 with none (FP32), 2.5 with all but
those of the heads, 2.1 with these. The median distance from the joints of FP32 is 0.009 of the side with all,
and 0.0025 with these."""
FRAMES_PER_SECOND = 1.0
"""Rate at which frames of the clips are taken."""
TORSO_POINTS = slice(5, 17)
"""Shoulders to ankles: the joints that are compared."""
MIN_SCORE = 0.3
"""Confidence from which a joint is compared."""

CARD = """\
# pose

MoveNet Lightning, single pose: the 17 joints of the main person, converted to ONNX.

- **Origin**: `movenet_single_pose_lightning_ptq.tflite` of google-coral/test_data, by Google, Apache-2.0
  (Votel and Li 2021, "Next-Generation Pose Detection with MoveNet and TensorFlow.js"). Trained by Google on
  COCO and on videos of fitness and dance.
- **Change**: `model.onnx` has the same 8-bit weights, but does not round activations. `model.int8.onnx` is
  quantized from it: the backbone, per channel, without its first layers. The rest stays in floats.
  Its 8-bit products saturate on x86 without VNNI, which uses FP32 by default.
- **Input**: 192x192 RGB from 0 to 255: a square around the person, padded with black.
- **Output**: y, x (fractions of the input) and confidence of nose, eyes, ears, shoulders, elbows, wrists,
  hips, knees and ankles. Right and left are the person's own.
- **Equality**: on {frames} frames of {clips} clips, joints from the shoulders down with a confidence of
  {minimum} or more. INT8 and FP32: median distance {int8:.4f} of the side of the input, {near:.1%} within
  0.03. FP32 and TensorFlow Lite on the original file: {fp32:.4f}, {fp32_near:.1%}.
- **Speed and stability**: see `docs/actions.md`.
- **Intended use**: movements of the person who is largest in view. With several people it may change from one
  to another.
- **Limits**: hidden joints are guessed, with a low confidence. It is less accurate for children, wheelchairs,
  unusual poses, loose clothes and dim light.
- **Not for**: identification, medical or safety decisions.
"""


def to_onnx(tflite: Path) -> onnx.ModelProto:
    """Convert the file to ONNX: image float32 (1, 192, 192, 3) -> values float32 (1, 51)."""
    import onnx
    import onnxslim

    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw.onnx")
        subprocess.run(
            [
                sys.executable, "-m", "tf2onnx.convert", "--tflite", str(tflite), "--output", str(raw),
                "--opset", str(OPSET), "--dequantize",
            ],
            check=True,
            capture_output=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )  # fmt: skip
        proto: onnx.ModelProto = onnxslim.slim(onnx.load(raw))
    graph = proto.graph
    # The graph casts bytes to floats first; the runtime gives floats.
    cast = graph.node[0]
    assert cast.op_type == "Cast" and cast.input[0] == graph.input[0].name, "the graph has changed"
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    graph.input[0].name = cast.output[0]
    del graph.node[0]
    flat = onnx.helper.make_tensor("flat", onnx.TensorProto.INT64, [2], [1, 3 * len(JOINTS)])
    graph.initializer.append(flat)
    graph.node.append(onnx.helper.make_node("Reshape", [graph.output[0].name, "flat"], ["flat_values"]))
    del graph.output[:]
    graph.output.append(
        onnx.helper.make_tensor_value_info("flat_values", onnx.TensorProto.FLOAT, [1, 3 * len(JOINTS)])
    )
    rename_tensors(proto, "pose", {graph.input[0].name: "image", "flat_values": "values"})
    onnx.checker.check_model(proto)
    return proto


def store_integers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights of convolutions as the 8-bit integers that they are, times the scale of their channel.

    ONNX Runtime computes the products when it loads the graph. The file has a quarter of the size.
    """
    from onnx import TensorProto, helper, numpy_helper

    read = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    made = []
    for tensor in model.graph.initializer:
        if tensor.name not in read:
            continue
        name, weights = tensor.name, numpy_helper.to_array(tensor)
        most = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
        scale = np.where(most > 0, most / 127, 1).astype(np.float32)
        integers = np.round(weights / scale).astype(np.int8)
        if not np.allclose(integers * scale, weights, rtol=1e-5, atol=0):
            raise ValueError(f"the weights {name} are not 8-bit integers with one scale for each channel")
        tensor.CopyFrom(numpy_helper.from_array(integers, f"{name}/integers"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}/scale"))
        made += [
            helper.make_node("Cast", [tensor.name], [f"{name}/floats"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}/floats", f"{name}/scale"], [name]),
        ]
    nodes = [*made, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def quantize(model: Graph, pictures: Floats) -> Graph:
    """Quantize the backbone without its first layers; the feature pyramid and the heads stay in floats."""
    import onnx

    quantizer = StaticQuantizer(model, "model", lambda: (picture[None] for picture in pictures))
    # The weights are 8-bit integers already: other scales would round them again.
    mixed = quantizer.quantized(Recipe(CALIBRATORS[0], weights="full"), only=_backbone(model))
    return to_graph(store_integers(onnx.load_from_string(mixed.data)), "model")


def _backbone(model: Graph) -> list[str]:
    """Return the nodes from the first quantized convolution to the last one."""
    import onnx

    nodes = onnx.load_from_string(model.data).graph.node
    convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
    inside = nodes[convolutions[QUANTIZED.start] : convolutions[QUANTIZED.stop]]
    return [node.name for node in inside if node.op_type in ("Conv", "Clip", "Relu", "Add")]


def read_pictures(folder: Path) -> tuple[Image, int]:
    """Read frames of all clips below a folder, padded to squares of the model's size.

    Returns:
        uint8 (n, side, side, 3), BGR, and the number of clips.
    """
    clips = sorted(path for path in folder.rglob("*") if path.suffix in (".mp4", ".mkv", ".avi"))
    return np.stack([picture for clip in clips for picture in _frames(clip)]), len(clips)


def _frames(clip: Path) -> Iterator[Image]:
    next_s = 0.0
    with open_source(str(clip)) as source:
        while (frame := source.read()) is not None:
            if frame.pts_s >= next_s:
                next_s += 1 / FRAMES_PER_SECOND
                yield pad_to_square(frame.bgr, SIDE)


def run_graph(graph: Graph, pictures: Floats) -> Floats:
    """Return the joints of each picture, (n, 17, 3)."""
    session = make_session(graph)
    return np.stack([session.run1(picture[None]).reshape(-1, 3) for picture in pictures])


def run_tflite(tflite: Path, pictures: Floats) -> Floats:
    """Return the joints that TensorFlow Lite finds with the original file, (n, 17, 3)."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(tflite))
    interpreter.allocate_tensors()
    image, found = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    joints = []
    for picture in pictures:
        interpreter.set_tensor(image, picture[None].astype(np.uint8))
        interpreter.invoke()
        joints.append(interpreter.get_tensor(found).reshape(-1, 3))
    return np.stack(joints)


def distances(found: Floats, expected: Floats) -> tuple[float, float]:
    """Return the median distance of confident joints, and the share of them within 0.03 of the side."""
    sure = expected[:, TORSO_POINTS, 2] >= MIN_SCORE
    apart = np.hypot(*np.moveaxis(found[:, TORSO_POINTS, :2] - expected[:, TORSO_POINTS, :2], -1, 0))[sure]
    return float(np.median(apart)), float((apart <= 0.03).mean())


def write_package(tflite: Path, clips: Sequence[Path], out: Path) -> None:
    """Write the package: both graphs, manifest, card and golden outputs.

    Raises:
        ValueError: The file is not the published one.
    """
    digest = hashlib.sha256(tflite.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{tflite}: SHA-256 {digest}, expected {SHA256}")
    model = to_graph(store_integers(to_onnx(tflite)), "model")
    read = [read_pictures(folder) for folder in clips]
    bgr, count = np.concatenate([pictures for pictures, _ in read]), sum(number for _, number in read)
    pictures = preprocess_images(list(bgr), PICTURE)
    files: Files = {"fp32": {"model": model}, "int8": {"model": quantize(model, pictures)}}
    expected = run_graph(model, pictures)
    int8 = distances(run_graph(files["int8"]["model"], pictures), expected)
    fp32 = distances(expected, run_tflite(tflite, pictures))
    manifest = Manifest(
        format=FORMAT,
        name="pose",
        task="pose",
        values=tuple(ValueSpec(f"{joint}_{axis}") for joint in JOINTS for axis in ("y", "x", "score")),
        reads="frame",
        input=PICTURE,
        output="values",
        files=file_specs(files),
        opset=OPSET,
        auto={"cpu": "int8", CPU_WITHOUT_VNNI: "fp32"},
        training={"by": "Google, MoveNet", "license": "Apache-2.0", "source_sha256": SHA256},
    )
    card = CARD.format(
        frames=len(pictures), clips=count, minimum=MIN_SCORE,
        int8=int8[0], near=int8[1], fp32=fp32[0], fp32_near=fp32[1],
    )  # fmt: skip
    with replaced_folder(out) as folder:
        write_graphs(folder, files)
        (folder / "MODELCARD.md").write_text(card, encoding="utf-8")
        write_manifest(folder, manifest)
        write_golden(load_package(folder))
        verify_package(folder)


@click.command()
@click.argument("tflite", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--clips", type=click.Path(exists=True, file_okay=False, path_type=Path), multiple=True,
              required=True, help="Folder of clips with people, for INT8 ranges; repeatable.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the package.")
def main(tflite: Path, clips: tuple[Path, ...], out: Path) -> None:
    """Convert MoveNet Lightning (8-bit TFLITE) into the package `pose`."""
    write_package(tflite, clips, out)
    click.echo(f"wrote {out}")


if __name__ == "__main__":
    main()
