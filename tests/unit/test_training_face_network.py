"""The face network: equal to the one it continues from, whole and pruned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeharfer.runtime.errors import ConfigError  # noqa: E402
from edgeharfer.training.emotion.data import TrainingData  # noqa: E402
from edgeharfer.training.emotion.face_network import (  # noqa: E402
    MOBILENETV1_BLOCKS,
    enlarged_kernel,
    folded_weights,
    read_graph_model,
    set_normalised,
)
from edgeharfer.training.emotion.faces import Faces  # noqa: E402
from edgeharfer.training.emotion.networks import emotion_model  # noqa: E402
from edgeharfer.training.emotion.recipe import EmotionRecipe  # noqa: E402
from edgeharfer.training.emotion.train import build_model  # noqa: E402

HEADS = {"fer7": 7, "fer8": 8}


def test_one_kernel_does_what_enlarging_and_a_kernel_do() -> None:
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 1, 4)).astype(np.float32)
    picture = rng.normal(size=(1, 12, 12, 1)).astype(np.float32)
    enlarged = keras.layers.UpSampling2D(2, interpolation="bilinear")(picture)
    expected = np.asarray(keras.ops.conv(enlarged, kernel, 2, padding="same"))
    found = np.asarray(keras.ops.conv(picture, enlarged_kernel(kernel), 1, padding="same"))
    np.testing.assert_allclose(found[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], atol=1e-5)


def write_face_network(folder: Path) -> Path:
    """Write a graph model of the face network's names and shapes, one weight in eight bits."""
    entries: dict[str, tuple[int, ...]] = {
        "conv1/convolution/merged_input": (3, 3, 3, 32),
        "conv1_bn/batchnorm_1/sub": (32,),
    }
    width = 32
    for i, (outputs, _) in enumerate(MOBILENETV1_BLOCKS, 1):
        entries |= {
            f"conv_dw_{i}/depthwise_kernel": (3, 3, width, 1),
            f"conv_dw_{i}_bn/batchnorm_1/mul": (width,),
            f"conv_dw_{i}_bn/batchnorm_1/sub": (width,),
            f"conv_pw_{i}/convolution/merged_input": (1, 1, width, outputs),
            f"conv_pw_{i}_bn/batchnorm_1/sub": (outputs,),
        }
        width = outputs
    manifest: list[dict[str, Any]] = []
    data = b""
    for name, shape in entries.items():
        manifest.append({"name": name, "shape": shape, "dtype": "float32"})
        if name == "conv1_bn/batchnorm_1/sub":
            manifest[-1]["quantization"] = {"dtype": "uint8", "scale": 0.5, "min": -1.0}
            data += np.full(shape, 4, np.uint8).tobytes()
        else:
            data += np.full(shape, 0.01, np.float32).tobytes()
    (folder / "weights.bin").write_bytes(data)
    path = folder / "faceres-deep.json"
    path.write_text(json.dumps({"weightsManifest": [{"paths": ["weights.bin"], "weights": manifest}]}))
    return path


def test_the_face_network_is_read_from_a_graph_model(tmp_path: Path) -> None:
    path = write_face_network(tmp_path)
    faces = np.random.default_rng(0).normal(size=(8, 48, 48, 1)).astype(np.float32)
    model = emotion_model("mobilenetv1-face", HEADS, weights=path, faces=lambda: faces)
    (kernel,) = model.get_layer("conv1").get_weights()
    _, beta, mean, _ = model.get_layer("conv1_norm").get_weights()
    np.testing.assert_allclose(beta - mean, 1.0, atol=1e-4)  # 4 * 0.5 - 1
    assert kernel.sum() == pytest.approx(9 * 3 * 32 * 0.01 * 60, rel=1e-4)
    np.testing.assert_allclose(model.get_layer("depthwise3").get_weights()[0], 0.01 * 0.01, rtol=1e-4)
    (tmp_path / "weights.bin").write_bytes(b"short")
    with pytest.raises(ConfigError, match="graph model"):
        read_graph_model(path)
    path.write_text('{"weightsManifest": []}')
    with pytest.raises(ConfigError, match="not the face network"):
        emotion_model("mobilenetv1-face", HEADS, weights=path, faces=lambda: faces)


def test_normalisation_keeps_the_function_and_is_that_of_the_faces() -> None:
    keras.utils.set_random_seed(2)
    rng = np.random.default_rng(2)
    model = emotion_model("mobilenetv1-face-small", HEADS)
    faces = rng.normal(size=(24, 48, 48, 1)).astype(np.float32)
    names = ["conv1", *(f"{kind}{i}" for i in range(1, 14) for kind in ("depthwise", "pointwise"))]
    folded = []
    for name in names:
        (kernel,) = model.get_layer(name).get_weights()
        channels = kernel.shape[2] if name.startswith("depthwise") else kernel.shape[3]
        folded.append((kernel * 3, rng.normal(0, 0.3, channels).astype(np.float32)))
    set_normalised(model, folded, faces)
    for (kernel, bias), (found_kernel, found_bias) in zip(folded, folded_weights(model), strict=True):
        np.testing.assert_allclose(found_kernel, kernel, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found_bias, bias, atol=2e-3)
    trained = keras.Model(model.input, model.get_layer("pointwise5_norm").output)
    np.testing.assert_allclose(trained(faces, training=True), trained(faces, training=False), atol=0.02)


def test_pruning_keeps_the_channels_that_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A network whose other channels are constant has the same outputs without them."""
    keras.utils.set_random_seed(1)
    small = emotion_model("mobilenetv1-face-small", HEADS)
    full = emotion_model("mobilenetv1-face", HEADS)
    embed(small, full, np.random.default_rng(0))
    faces = np.random.default_rng(1).normal(size=(40, 48, 48, 1)).astype(np.float32)
    monkeypatch.setattr(keras.models, "load_model", lambda file: full)
    pruned = emotion_model("mobilenetv1-face-small", HEADS, weights=tmp_path, faces=lambda: faces)
    outputs = pruned(faces[:4], training=False)
    for head, expected in full(faces[:4], training=False).items():
        assert np.asarray(expected).std() > 0.01
        np.testing.assert_allclose(np.asarray(outputs[head]), np.asarray(expected), atol=2e-3)
    with pytest.raises(ConfigError, match="arch mobilenetv1-face "):
        emotion_model("mobilenetv1-face-small", {"fer7": 7}, weights=tmp_path, faces=lambda: faces)
    monkeypatch.setattr(keras.models, "load_model", lambda file: pruned)
    with pytest.raises(ConfigError, match="the same label sets"):
        emotion_model("mobilenetv1-face-small", {"fer7": 7}, weights=tmp_path)
    continued = emotion_model("mobilenetv1-face-small", HEADS, weights=tmp_path)
    np.testing.assert_array_equal(continued.get_weights()[-1], pruned.get_weights()[-1])
    monkeypatch.setattr(keras.models, "load_model", lambda file: full)
    with pytest.raises(ConfigError, match="in a training"):
        emotion_model("mobilenetv1-face-small", HEADS, weights=tmp_path)


def test_the_face_network_is_pruned_from_a_graph_model(tmp_path: Path) -> None:
    path = write_face_network(tmp_path)
    faces = np.random.default_rng(0).normal(size=(8, 48, 48, 1)).astype(np.float32)
    options: dict[str, Any] = {"weights": path, "faces": lambda: faces}
    full, pruned = (
        folded_by_name(emotion_model(arch, HEADS, **options))
        for arch in ("mobilenetv1-face", "mobilenetv1-face-small")
    )
    for name in ("conv1", "depthwise1", "pointwise1"):
        np.testing.assert_allclose(pruned[name][0], full[name][0], rtol=2e-2)
        np.testing.assert_allclose(pruned[name][1], full[name][1], atol=2e-2)
    assert pruned["pointwise13"][0].shape == (1, 1, 768, 768)
    path.write_text('{"weightsManifest": []}')
    with pytest.raises(ConfigError, match="not the face network"):
        emotion_model("mobilenetv1-face-small", HEADS, **options)


def folded_by_name(model: Any) -> dict[str, tuple[Any, Any]]:
    """Return name -> kernel and bias of each convolution, with the normalisation after it."""
    names = [layer.name.removesuffix("_norm") for layer in model.layers if layer.name.endswith("_norm")]
    return dict(zip(names, folded_weights(model), strict=True))


def test_initial_weights_are_computed_in_float32(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (8, 48, 48), np.uint8)
    faces = Faces(["face"] * 8, pictures, np.zeros(8, np.int64), pictures)
    prepared = TrainingData(faces, faces, faces, {}, {})
    recipe = EmotionRecipe(arch="mobilenetv1-face")
    path = write_face_network(tmp_path)
    full, half = (build_model(recipe, prepared, path, dtype) for dtype in ("float32", "mixed_bfloat16"))
    assert half.get_layer("conv1").compute_dtype == "bfloat16"
    heads = 2 * len(HEADS)  # random
    for found, expected in zip(half.get_weights()[:-heads], full.get_weights()[:-heads], strict=True):
        np.testing.assert_array_equal(found, expected)


def embed(small: Any, full: Any, rng: np.random.Generator) -> None:
    """Copy a network into a wider one, whose further channels are constant but are read."""
    places = np.arange(32)
    for layer in (one for one in small.layers if one.weights and not one.name.endswith("_norm")):
        kernel, *_ = layer.get_weights()
        wide = full.get_layer(layer.name)
        wide_kernel, *biases = wide.get_weights()
        if layer.name.startswith("depthwise"):
            wide_kernel[:, :, places] = kernel * 3
        elif layer.name == "conv1":
            wide_kernel = kernel
        else:
            size = wide_kernel.shape[-1]
            outputs = np.sort(rng.permutation(size)[: kernel.shape[-1]])
            wide_kernel = np.where(np.isin(np.arange(size), outputs), wide_kernel, 0)
            wide_kernel[..., places[:, None], outputs] = kernel
            if layer.name.startswith("pointwise"):
                places = outputs
                gamma, beta, mean, variance = full.get_layer(f"{layer.name}_norm").get_weights()
                beta[np.setdiff1d(np.arange(size), outputs)] = 0.5
                full.get_layer(f"{layer.name}_norm").set_weights([gamma, beta, mean, variance])
        wide.set_weights([wide_kernel, *biases])
