"""Kinds of Keras 3 models that people export, and the options that say what their files do not."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import tiny_patterns
from edgeharfer.cli.evaluate import evaluate
from edgeharfer.cli.export import export
from edgeharfer.export import ModelOptions, backend, export_model
from edgeharfer.export.loading import load_model
from edgeharfer.export.parity import keras_scores, onnx_scores
from edgeharfer.export.source import find_source
from edgeharfer.export.tensorrt import OVERFLOW, add_tensorrt
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.package import load_package

keras: Any = backend.load("keras")
layers: Any = keras.layers

Floats = NDArray[np.float32]
LABELS = ("a", "b", "c")


def saved(model: Any, folder: Path) -> Path:
    """Give a model weights that show when they are mixed up, and save it."""
    rng = np.random.default_rng(4)
    for weight in model.weights:
        if weight.name not in ("mean", "variance", "count", "seed_generator_state"):
            value = rng.normal(0, 0.3, weight.shape)
            weight.assign(np.abs(value) + 0.5 if weight.name in ("moving_variance", "gamma") else value)
    model.save(folder / "m.keras")
    return folder / "m.keras"


def frames(first: bool = False) -> Any:
    """An encoder of 8 x 8 frames, channels first or last."""
    how = {"data_format": "channels_first" if first else "channels_last"}
    stack = [layers.Conv2D(4, 3, activation="relu", **how), layers.GlobalAveragePooling2D(**how)]
    shape = (3, 8, 8) if first else (8, 8, 3)
    return layers.TimeDistributed(keras.Sequential([keras.Input(shape), *stack]))


def softmax(**how: Any) -> Any:
    return layers.Dense(3, activation="softmax", **how)


def with_operations() -> Any:
    """Arithmetic between layers, also by operations that have the name of a layer, and a hard swish."""
    given = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3)(given / 127.5 - 1.0)
    x = layers.Multiply()([x * keras.ops.relu6(x + 3.0) / 6.0, keras.ops.mean(x, axis=-1, keepdims=True)])
    x = keras.ops.max(keras.ops.concatenate([x, x], axis=-1), axis=(1, 2))
    return keras.Model(given, softmax()(keras.ops.expand_dims(x, 1)[:, 0]))


def attending() -> Any:
    """A string among the settings that is also the name of a function."""
    given = keras.Input((2, 8, 8, 3))
    x = layers.Attention(score_mode="dot")([seen := frames()(given), seen])
    return keras.Model(given, softmax()(layers.Bidirectional(layers.LSTM(2))(x)))


@pytest.mark.parametrize("make", [with_operations, attending])
def test_hdf5_of_keras_3_that_keras_does_not_load(make: Callable[[], Any], tmp_path: Path) -> None:
    model = make()
    saved(model, tmp_path)
    with backend.quiet():
        model.save(tmp_path / "m.h5")
        with pytest.raises((ValueError, TypeError)):
            keras.models.load_model(tmp_path / "m.h5", compile=False)
    x = np.random.default_rng(5).random((2, *model.input_shape[1:]), np.float32) * 255
    loaded = load_model(find_source(tmp_path / "m.h5"))
    np.testing.assert_allclose(loaded.call(x), np.asarray(model(x)), atol=1e-6)


def test_what_overflows_in_float16_says_so_in_the_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processor computes float16 in float32, so a graph does not overflow here."""
    monkeypatch.setattr("edgeharfer.export.tensorrt.parity.difference", lambda *scores: math.inf)
    package = tiny_patterns.picture_package(tmp_path / "package")
    (package.path / "MODELCARD.md").write_text("# Card\n", encoding="utf-8")
    add_tensorrt(package.path, np.zeros((1, *package.manifest.input.shape), np.float32))
    receipt = json.loads((package.path / "receipt.json").read_text(encoding="utf-8"))
    assert receipt["tensorrt"] == {"fp16": OVERFLOW}
    assert "tensorrt" not in load_package(package.path).manifest.auto


@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("mixed_float16", 2e-3), ("mixed_bfloat16", 2e-2), ("float64", 1e-5)],
)
def test_other_arithmetic_becomes_float32(policy: str, tolerance: float, tmp_path: Path) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        stack = [keras.Input((2, 8, 8, 3)), frames(), layers.Bidirectional(layers.LSTM(3))]
        model = keras.Sequential([*stack, softmax(dtype="float32")])
    finally:
        keras.config.set_dtype_policy("float32")
    path = saved(model, tmp_path)
    x = np.random.default_rng(5).random((3, 2, 8, 8, 3), np.float32)
    loaded = load_model(find_source(path))
    assert loaded.dtype == policy
    assert {one.dtype for one in loaded.keras.weights} == {"float32"}
    np.testing.assert_allclose(loaded.call(x), np.asarray(model(x)), atol=tolerance)


def test_a_stateful_layer_starts_anew_in_each_window(tmp_path: Path) -> None:
    given = keras.Input(batch_shape=(1, 2, 8, 8, 3))
    model = keras.Sequential([given, frames(), layers.LSTM(3, stateful=True), softmax()])
    loaded = load_model(find_source(saved(model, tmp_path)))
    x = np.random.default_rng(5).random((2, 2, 8, 8, 3), np.float32)
    first = np.asarray(model(x[1:]))
    np.testing.assert_allclose(np.asarray(loaded.call(x))[1:], first, atol=1e-6)
    assert loaded.input_shape[0] is None


def test_channels_first_is_read_without_a_transposition(tmp_path: Path) -> None:
    how = {"data_format": "channels_first"}
    stack = [
        layers.Conv2D(4, 3, groups=1, activation="relu", **how),
        layers.BatchNormalization(axis=1),
        layers.MaxPooling2D(2, **how),
        layers.GlobalAveragePooling2D(**how),
    ]
    path = saved(keras.Sequential([keras.Input((3, 12, 12)), *stack, softmax()]), tmp_path)
    package = export_model(path, tmp_path / "out", labels=LABELS, normalize="unit")
    assert (package.manifest.input.layout, package.manifest.input.shape) == ("nchw", (3, 12, 12))
    graph = package.read("model")
    assert "Transpose" not in graph.info.nodes
    x = np.random.default_rng(5).random((3, 3, 12, 12), np.float32)
    expected = keras_scores(load_model(find_source(path)).call, x)
    np.testing.assert_allclose(onnx_scores({"model": graph}, x), expected, atol=1e-5)


def test_channels_first_needs_no_onednn(tmp_path: Path) -> None:
    """TensorFlow uses oneDNN by default on some processors only, and without it has no such convolution."""
    clip = [keras.Input((2, 3, 8, 8)), frames(first=True), layers.LSTM(3), softmax()]
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS), encoding="utf-8")
    words = [str(saved(keras.Sequential(clip), tmp_path)), "--labels", str(labels), "--normalize", "unit"]
    done = subprocess.run(
        [sys.executable, "-m", "edgeharfer.cli", "export", *words, "--out", str(tmp_path / "out")],
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert load_package(tmp_path / "out").manifest.input.shape == (3, 8, 8)


def test_free_frames_and_size_are_asked_for(tmp_path: Path) -> None:
    inner = [keras.Input((None, None, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()]
    encoder = layers.TimeDistributed(keras.Sequential(inner))
    model = keras.Sequential(
        [keras.Input((None, None, None, 3)), encoder, layers.GlobalAveragePooling1D(), softmax()]
    )
    path = saved(model, tmp_path)
    options: dict[str, Any] = {"labels": LABELS, "normalize": "unit"}
    with pytest.raises(ConfigError, match=r"takes images of \? x \? x 3: pass --size"):
        export_model(path, tmp_path / "out", **options, options=ModelOptions(frames=2))
    with pytest.raises(ConfigError, match="the number of frames is not fixed: pass --frames"):
        export_model(path, tmp_path / "out", **options, options=ModelOptions(size=(10, 8)))
    wanted = ModelOptions(frames=2, size=(10, 8), seconds=1.0)
    manifest = export_model(path, tmp_path / "out", **options, options=wanted).manifest
    assert (manifest.input.width, manifest.input.height) == (10, 8)
    assert manifest.window is not None
    assert (manifest.window.frames, manifest.window.seconds) == (2, 1.0)


def per_frame() -> Any:
    recurrent = [layers.LSTM(3, return_sequences=True), layers.TimeDistributed(softmax())]
    return keras.Sequential([keras.Input((2, 8, 8, 3)), frames(), *recurrent])


def of_one_place() -> Any:
    """Scales values that are between 0 and 1 already, has groups, and gives a map of one place."""
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(6).random((4, 8, 8, 3)))
    stack = [normalization, layers.Conv2D(6, 3, groups=3), layers.GroupNormalization(3)]
    ending = [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(3, 1, activation="softmax")]
    return keras.Sequential([keras.Input((8, 8, 3)), *stack, *ending])


def activated() -> Any:
    """Functions that TensorFlow computes with operators which ONNX does not have."""
    stack = [layers.Conv2D(4, 3, activation="gelu"), layers.Conv2D(4, 3, activation="celu")]
    return keras.Sequential([keras.Input((8, 8, 3)), *stack, layers.GlobalMaxPooling2D(), softmax()])


def reordered() -> Any:
    """Pictures as PyTorch gives them, with convolutions as TensorFlow computes them."""
    stack = [layers.Permute((2, 3, 1)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), softmax()]
    return keras.Sequential([keras.Input((3, 8, 9)), *stack])


@pytest.mark.parametrize("make", [per_frame, of_one_place, activated, reordered])
def test_a_package_gives_what_the_model_gives(make: Callable[[], Any], tmp_path: Path) -> None:
    model = make()
    path = saved(model, tmp_path)
    package = export_model(path, tmp_path / "out", labels=LABELS, normalize="unit")
    x = np.random.default_rng(5).random((3, *model.inputs[0].shape[1:]), np.float32)
    expected = np.asarray(model(x))
    expected = expected[:, -1] if make is per_frame else expected.reshape(3, 3)
    graphs = {role: package.read(role) for role in package.manifest.roles}
    np.testing.assert_allclose(onnx_scores(graphs, x), expected, atol=1e-5)


# A model of pictures that reads frames -----------------------------------------------------------


def brightness() -> Any:
    """Two classes, told apart by the mean of a picture: sigmoid(20 * (mean - 0.5))."""
    dense = layers.Dense(1, activation="sigmoid", name="bright")
    model = keras.Sequential([
        keras.Input((8, 8, 3)), layers.GlobalAveragePooling2D(), layers.Dense(1, name="mean"), dense
    ])  # fmt: skip
    model.get_layer("mean").set_weights([np.full((3, 1), 1 / 3), np.zeros(1)])
    dense.set_weights([np.full((1, 1), 20.0), np.full(1, -10.0)])
    return model


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that reads single frames of bare files, exported on the command line, beside its model."""
    folder = tmp_path_factory.mktemp("bright")
    brightness().save(folder / "keras_model.h5")
    (folder / "labels.txt").write_text("0 dark\n1 light\n")
    options = ["--normalize", "unit", "--crop", "center", "--seconds", "0.5", "--precision", "fp32"]
    words = [str(folder / "keras_model.h5"), "--out", str(folder / "out"), *options]
    result = CliRunner().invoke(export, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder


def test_a_model_of_pictures_becomes_an_action_package(bright: Path) -> None:
    manifest = load_package(bright / "out", "action").manifest
    assert manifest.labels == ("dark", "light")
    assert (manifest.window.frames, manifest.window.seconds) == (1, 0.5)  # type: ignore[union-attr]
    assert (manifest.input.fit, manifest.output) == ("center", "probs")


def test_it_reads_photographs_and_the_centre_of_frames(bright: Path) -> None:
    from edgeharfer.runtime import Pipeline

    wide = np.zeros((48, 96, 3), np.uint8)
    wide[:, 24:72] = 255
    with Pipeline(action=bright / "out", emotion=None) as pipeline:
        assert pipeline.process(wide).action.label == "light"  # type: ignore[union-attr]
        assert pipeline.process(255 - wide).action.label == "dark"  # type: ignore[union-attr]


def test_bare_files_are_evaluated_on_pictures(bright: Path, tmp_path: Path) -> None:
    for label, value in (("dark", 10), ("light", 240)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(2):
            cv2.imwrite(str(tmp_path / "data" / label / f"{number}.png"), np.full((9, 9, 3), value, np.uint8))
    options = ["--normalize", "unit", "--crop", "frame", "--labels", str(bright / "labels.txt")]
    words = [str(bright / "keras_model.h5"), "--data", str(tmp_path / "data"), *options]
    result = CliRunner().invoke(evaluate, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "n 4  top1 1.0000" in result.output


def test_a_package_takes_no_options_of_files(bright: Path) -> None:
    words = [str(bright / "out"), "--data", str(bright), "--channels", "bgr"]
    with pytest.raises(ConfigError, match="--channels is recorded in the package: remove the option"):
        CliRunner().invoke(evaluate, words, catch_exceptions=False, standalone_mode=False)
