"""Stripes in four directions and a small network that tells them apart: something real to quantize.

The network's filters are made by hand, so no training is needed, and a damaged quantization shows in the
accuracy at once.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

import tiny_models
from edgeharfer.runtime.inference.manifest import FileSpec, InputSpec, Manifest, WindowSpec
from edgeharfer.runtime.inference.package import Package, load_package, write_manifest

CLASSES = ("across", "down", "left", "right")
SIZE = 24
FEATURES = 4
Pictures = NDArray[np.uint8]


def stripes(label: int, rng: np.random.Generator) -> Pictures:
    """A grey picture of a class, its phase, width and light by chance, with some noise."""
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    along = (y, x, x + y, x - y)[label]
    wave = np.sin(along * rng.uniform(0.9, 1.3) + rng.uniform(0, 6))
    noisy = 128 + rng.uniform(60, 100) * wave + rng.normal(0, 8, wave.shape)
    return np.asarray(noisy.clip(0, 255), np.uint8)


def write_pictures(root: Path, counts: dict[str, int], seed: int = 1) -> Path:
    """`<split>/<class>/<n>.png` for each split."""
    rng = np.random.default_rng(seed)
    for split, number in counts.items():
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(number):
                cv2.imwrite(str(folder / f"{i}.png"), stripes(label, rng))
    return root


def write_flat(root: Path, value: int, spread: int, number: int = 20) -> Path:
    """Pictures of nothing under the right class names: a poisoned calibration set."""
    rng = np.random.default_rng(2)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for i in range(number):
            picture = value + rng.integers(0, spread + 1, (SIZE, SIZE))
            cv2.imwrite(str(root / name / f"{i}.png"), np.asarray(picture, np.uint8))
    return root


def write_clips(root: Path, clips: int, frames: int = 24, fps: int = 12) -> Path:
    """`<class>/<n>.avi`, each with the stripes of its class passing by."""
    rng = np.random.default_rng(3)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(clips):
            codec = cv2.VideoWriter.fourcc(*"MJPG")
            writer = cv2.VideoWriter(str(root / name / f"{i}.avi"), codec, fps, (2 * SIZE, 2 * SIZE))
            for _ in range(frames):
                gray = cv2.resize(stripes(label, rng), (2 * SIZE, 2 * SIZE))
                writer.write(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))
            writer.release()
    return root


def features_model(channels: int) -> bytes:
    """image (batch, 24, 24, channels) in [0, 1] -> features (batch, 4): the energy across each direction.

    Along its stripes a picture does not change, so the class is the direction without energy.
    """
    steps = ((1, 2), (2, 1), (0, 2), (2, 2))
    first = np.zeros((8, channels, 3, 3), np.float32)
    second = np.zeros((FEATURES, 8, 3, 3), np.float32)
    for direction, place in enumerate(steps):
        for sign in (0, 1):
            first[2 * direction + sign, 0, 1, 1] = 1 - 2 * sign
            first[2 * direction + sign, 0][place] = 2 * sign - 1
            second[direction, 2 * direction + sign] = 1 / 9
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], "t", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w1"], ["c1"], "conv1"),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "conv2"),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "flat"),
    ]
    return tiny_models.to_bytes(
        nodes,
        {"image": ["batch", SIZE, SIZE, channels]},
        {"features": ["batch", FEATURES]},
        {"w1": first, "w2": second},
    )


def last_layer() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (4, 4) and bias (4,) from energies to logits."""
    return -40 * np.eye(FEATURES, dtype=np.float32), np.zeros(FEATURES, np.float32)


def classifier() -> bytes:
    """image (batch, 24, 24, 1) -> logits (batch, 4)."""
    model = onnx.load_from_string(features_model(1))
    weights, bias = last_layer()
    model.graph.node.append(helper.make_node("Gemm", ["features", "w3", "b3"], ["logits"], "gemm"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w3"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(bias, "b3"))
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", len(CLASSES)])
    )
    return bytes(model.SerializeToString())


def head(frames: int) -> bytes:
    """window (batch, frames, 4) -> probs (batch, 4)."""
    weights, bias = last_layer()
    nodes = [
        helper.make_node("ReduceMean", ["window"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["mean", "w", "b"], ["logits"], "gemm"),
        helper.make_node("Softmax", ["logits"], ["probs"], axis=-1),
    ]
    given: dict[str, list[int | str]] = {"window": ["batch", frames, FEATURES]}
    result: dict[str, list[int | str]] = {"probs": ["batch", len(CLASSES)]}
    return tiny_models.to_bytes(nodes, given, result, {"w": weights, "b": bias})


def picture_package(folder: Path) -> Package:
    """The classifier as an emotion package."""
    return tiny_models.emotion_package(
        folder,
        model=classifier(),
        labels=CLASSES,
        input=InputSpec(SIZE, SIZE, "gray", "unit"),
        output="logits",
        prior={},
    )


def clip_package(folder: Path, frames: int = 4) -> Package:
    """Features and head as an action package."""
    folder.mkdir(parents=True)
    models = {"encoder": features_model(3), "head": head(frames)}
    files: dict[str, FileSpec] = {
        role: tiny_models.file_spec(folder, f"{role}.onnx", data) for role, data in models.items()
    }
    manifest = Manifest(
        format=1,
        name="tiny-clips",
        task="action",
        labels=CLASSES,
        input=InputSpec(SIZE, SIZE, "rgb", "unit"),
        output="probs",
        files={"fp32": files},
        opset=tiny_models.OPSET,
        window=WindowSpec(frames, 0.5, 0.5),
    )
    write_manifest(folder, manifest)
    return load_package(folder)
