"""Packages of Keras 2 files give what tf-keras, the Keras 2 that is still maintained, computes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copy2
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeharfer.export import ModelOptions, backend, export_model
from edgeharfer.export.loading import load_model
from edgeharfer.export.parity import onnx_scores
from edgeharfer.export.source import find_source
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.package import Package

keras2: Any = backend.load("tf_keras")
tf: Any = backend.load("tensorflow")
h5py: Any = backend.load("h5py")
layers: Any = keras2.layers

Floats = NDArray[np.float32]

LABELS = ("a", "b", "c")


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Both versions of Keras warn about each other's files."""
    with backend.quiet():
        yield


def shaken(model: Any) -> Any:
    """Give all weights values that show when they are mixed up."""
    rng = np.random.default_rng(4)
    for weight in model.weights:
        value = rng.normal(0, 0.4, weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.name or "gamma" in weight.name else value)
    return model


def answers(model: Any, count: int = 3, scale: float = 1.0) -> tuple[Floats, Floats]:
    """Input of a model, and what tf-keras makes of it."""
    shape = model.inputs[0].shape[1:]
    x = np.random.default_rng(5).uniform(0, scale, (count, *shape)).astype(np.float32)
    return x, np.asarray(model(x, training=False))


def given(package: Package, x: Floats) -> Floats:
    """What the graphs of a package make of the same input."""
    return onnx_scores({role: package.read(role) for role in package.manifest.roles}, x)


def picture() -> Any:
    """Depthwise and separable convolutions, and batch normalisation without scale or centre."""
    return keras2.Sequential([
        layers.Input((16, 16, 1)),
        layers.Conv2D(4, 3, use_bias=False, activation="relu"),
        layers.BatchNormalization(axis=[-1]),
        layers.DepthwiseConv2D(3, depth_multiplier=2, strides=2, padding="same"),
        layers.BatchNormalization(scale=False, center=False),
        layers.LeakyReLU(0.2),
        layers.SeparableConv2D(5, 3, activation="hard_sigmoid"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip


def encoder() -> Any:
    x = layers.Conv2D(4, 3, activation="relu")(frame := layers.Input((8, 8, 3)))
    return layers.TimeDistributed(keras2.Model(frame, layers.GlobalAveragePooling2D()(x)))


def clip(*recurrent: Any) -> Any:
    return keras2.Sequential(
        [layers.Input((2, 8, 8, 3)), encoder(), *recurrent, layers.Dense(3, activation="softmax")]
    )


def both_ways() -> Any:
    hard = layers.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True)
    return clip(layers.Bidirectional(hard), layers.LSTM(4, recurrent_dropout=0.2))


def gated() -> Any:
    old = layers.GRU(3, reset_after=False, recurrent_activation="hard_sigmoid", return_sequences=True)
    return clip(old, layers.GRU(3))


def convolutional() -> Any:
    return keras2.Sequential([
        layers.Input((2, 8, 8, 3)),
        layers.ConvLSTM2D(3, 3),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ])  # fmt: skip


def augmented() -> Any:
    """Layers that only training runs, also of another package."""
    fixed = type("FixedDropout", (layers.Dropout,), {})
    change = [layers.RandomHeight(0.2), layers.RandomWidth(0.2), layers.RandomZoom(0.1)]
    stack = [layers.Conv2D(4, 3), fixed(0.2), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras2.Sequential([layers.Input((8, 8, 3)), *change, *stack])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Floats, Floats]:
    """The file of `picture`, an input, and what tf-keras makes of it."""
    path = tmp_path_factory.mktemp("pictures") / "m.h5"
    with backend.quiet():
        model = shaken(picture())
        x, expected = answers(model)
        model.save(path)
    return path, x, expected


def test_a_package_gives_what_keras_2_gives(pictures: tuple[Path, Floats, Floats], tmp_path: Path) -> None:
    path, x, expected = pictures
    package = export_model(path, tmp_path / "out", labels=LABELS, normalize="unit")
    np.testing.assert_allclose(given(package, x), expected, atol=1e-5)


def test_a_saved_model_of_clips_is_split(tmp_path: Path) -> None:
    model = shaken(gated())
    x, expected = answers(model)
    model.save(tmp_path / "saved")
    package = export_model(tmp_path / "saved", tmp_path / "out", labels=LABELS, normalize="unit")
    assert "whole" not in json.loads((package.path / "receipt.json").read_text(encoding="utf-8"))
    assert package.read("encoder").info.nodes["Conv"] == 1
    np.testing.assert_allclose(given(package, x), expected, atol=1e-5)


@pytest.mark.parametrize("make", [gated, convolutional, augmented])
def test_what_takes_long_to_convert_is_loaded_as_keras_2_meant_it(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    """The exporter compares its graphs with the loaded model, which is compared with tf-keras here."""
    model = shaken(make())
    x, expected = answers(model)
    model.save(tmp_path / "m.h5")
    assert_same(tmp_path / "m.h5", x, expected)


def plain_list(config: dict[str, Any]) -> None:
    """Until 2.2.2 a Sequential was the list of its layers, of which the first had the shape of the input."""
    without_input(config)
    config["config"] = config["config"]["layers"]


def without_input(config: dict[str, Any]) -> None:
    """Until 2.2.4 a Sequential had no layer for its input."""
    given, first, *_ = config["config"]["layers"]
    first["config"]["batch_input_shape"] = given["config"]["batch_input_shape"]
    del config["config"]["layers"][0]


def as_it_is(config: dict[str, Any]) -> None:
    """From TensorFlow 2.2 on."""


@pytest.mark.parametrize(
    ("version", "edit"), [("2.0.6", plain_list), ("2.2.4", without_input), ("2.15.0", as_it_is)]
)
def test_a_sequential_of_each_age(
    version: str,
    edit: Callable[[dict[str, Any]], None],
    pictures: tuple[Path, Floats, Floats],
    tmp_path: Path,
) -> None:
    path, x, expected = pictures
    copy2(path, tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), version
    assert_same(tmp_path / "m.h5", x, expected)


def assert_same(path: Path, x: Floats, expected: Floats, weights: Path | None = None) -> None:
    scores = load_model(find_source(path, weights=weights)).call(x)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_architecture_and_weights_apart(tmp_path: Path) -> None:
    model = shaken(both_ways())
    x, expected = answers(model)
    (tmp_path / "m.json").write_text(model.to_json())
    model.save_weights(tmp_path / "w.h5")
    assert_same(tmp_path / "m.json", x, expected, tmp_path / "w.h5")


# Functions of TensorFlow ------------------------------------------------------------------------


def scaled_as_mobilenet() -> Any:
    x = (image := layers.Input((8, 8, 3))) / 127.5 - 1.0
    x = layers.Conv2D(4, 3)(x)
    x = tf.nn.relu(x)
    y = 1.0 - tf.concat([x, x * 2.0 + 0.5], -1)
    x = tf.reduce_mean(y + tf.sigmoid(y), [1, 2])
    return keras2.Model(image, layers.Dense(3)(x))


def scaled_as_vgg() -> Any:
    x = keras2.applications.vgg16.preprocess_input(image := layers.Input((8, 8, 3)))
    return keras2.Model(image, layers.Dense(3)(layers.Flatten()(x)))


def scaled_as_densenet() -> Any:
    x = keras2.applications.densenet.preprocess_input(image := layers.Input((8, 8, 3)))
    return keras2.Model(image, layers.Dense(3)(layers.Flatten()(x)))


def scaled_with_attention() -> Any:
    """Attention over channels and places, as of CBAM, with functions of TensorFlow."""
    x = layers.Conv2D(4, 3)((image := layers.Input((8, 8, 3))) / 255.0)
    over = tf.concat([tf.reduce_mean(x, -1, keepdims=True), tf.reduce_max(x, axis=[-1], keepdims=True)], -1)
    x = x * tf.nn.softmax(layers.Conv2D(1, 3, padding="same")(over), axis=1)
    x = tf.math.l2_normalize(tf.transpose(tf.repeat(x, 2, axis=-1), [0, 2, 1, 3]), axis=-1)
    x = tf.maximum(tf.clip_by_value(x, 0.0, 0.5), tf.square(x) - tf.abs(x) * 0.5)
    x = tf.squeeze(tf.expand_dims(tf.reduce_sum(tf.minimum(x, 0.4), axis=1), 1), [1])
    return keras2.Model(image, layers.Dense(3)(x[:, -1, :6] + tf.exp(x)[:, 0, 2:]))


@pytest.mark.parametrize(
    "make", [scaled_as_mobilenet, scaled_as_vgg, scaled_as_densenet, scaled_with_attention]
)
def test_arithmetic_between_layers(make: Callable[[], Any], tmp_path: Path) -> None:
    model = shaken(make())
    x, expected = answers(model, scale=255)
    model.save(tmp_path / "m.h5")
    loaded = load_model(find_source(tmp_path / "m.h5"))
    np.testing.assert_allclose(loaded.call(x), expected, rtol=1e-5, atol=1e-4)
    assert loaded.scaling_layer is not None, "it takes raw pixels"


def test_attention_reads_tensors_by_name(tmp_path: Path) -> None:
    x = layers.MultiHeadAttention(2, 4)(rows := layers.Input((4, 6)), rows, key=rows)
    model = shaken(keras2.Model(rows, layers.Dense(3)(layers.Flatten()(layers.LayerNormalization()(x)))))
    x, expected = answers(model)
    model.save(tmp_path / "m.h5")
    assert_same(tmp_path / "m.h5", x, expected)


def test_other_functions_are_refused_with_a_way_out(tmp_path: Path) -> None:
    x = tf.math.top_k((image := layers.Input((8, 8, 3))), 1).values
    model = keras2.Model(image, layers.Dense(3)(layers.Flatten()(x)))
    model.save(tmp_path / "m.h5")
    with pytest.raises(ModelError, match=r"top_k.*replace it by a layer of Keras, or save .* SavedModel"):
        load_model(find_source(tmp_path / "m.h5"))


def test_a_class_with_the_name_of_a_layer_of_keras_is_refused(tmp_path: Path) -> None:
    """Many programs have an Attention of their own, over the frames of a clip."""
    call = {"call": lambda self, x: tf.reduce_sum(x * tf.nn.softmax(x, axis=1), axis=1)}
    own = type("Attention", (layers.Layer,), call)()
    model = keras2.Model(rows := layers.Input((4, 6)), layers.Dense(3)(own(rows)))
    model.save(tmp_path / "m.h5")
    with pytest.raises(
        ModelError, match=r"'attention' \(Attention\) is not the layer of Keras .* SavedModel"
    ):
        load_model(find_source(tmp_path / "m.h5"))


# What scales its input itself -------------------------------------------------------------------


def test_scaling_twice_is_refused(tmp_path: Path) -> None:
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(6).uniform(0, 255, (4, 8, 8, 3)))
    inner = keras2.Sequential([layers.Input((8, 8, 3)), layers.RandomFlip(), normalization])
    model = keras2.Sequential([layers.Input((8, 8, 3)), inner, layers.Flatten(), layers.Dense(3)])
    x, expected = answers(model, scale=255)
    model.save(tmp_path / "m.h5")
    for twice in ({"normalize": "unit"}, {"options": ModelOptions(mean=(127.5,), std=(127.5,))}):
        with pytest.raises(ConfigError, match="already scales raw pixels: remove --normalize"):
            export_model(tmp_path / "m.h5", tmp_path / "out", labels=LABELS, **twice)
    package = export_model(tmp_path / "m.h5", tmp_path / "out", labels=LABELS)
    assert package.manifest.input.normalize == "none"
    np.testing.assert_allclose(given(package, x), expected, rtol=1e-5, atol=1e-5)
