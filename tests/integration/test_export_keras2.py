"""Files of Keras 2 become packages that give what Keras 2 gave; what cannot is told in one line.

The files are made with Keras 3 and then given the keys, names and weights that Keras 2 wrote.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from edgeharfer.cli.export import export
from edgeharfer.export import backend, export_model
from edgeharfer.export.loading import load_model
from edgeharfer.export.source import find_source
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.session import make_session

keras: Any = backend.load("keras")
layers: Any = keras.layers
h5py: Any = backend.load("h5py")

Floats = NDArray[np.float32]
Edit = Callable[[dict[str, Any]], object]


def objects(config: Any) -> Iterator[dict[str, Any]]:
    """All layers of a configuration."""
    parts = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    if isinstance(config, dict) and isinstance(config.get("config"), dict):
        yield config
    for part in parts:
        yield from objects(part)


def aged(config: dict[str, Any]) -> None:
    """Give a configuration the form of Keras 2."""
    for one in objects(config):
        for key in ("module", "registered_name", "build_config"):
            one.pop(key, None)
        settings = one["config"]
        if "batch_shape" in settings:
            settings["batch_input_shape"] = settings.pop("batch_shape")
            settings["ragged"] = False
        if one["class_name"] in ("LSTM", "GRU", "ConvLSTM2D"):
            settings.update(time_major=False, implementation=2)
        if one["class_name"] == "DepthwiseConv2D":
            settings["groups"] = 1
        if one["class_name"] == "LeakyReLU":
            settings["alpha"] = {"type": "ndarray", "value": settings.pop("negative_slope")}
        if one["class_name"] == "Functional":
            one["class_name"] = "Model"
            with_old_nodes(settings)


def with_old_nodes(settings: dict[str, Any]) -> None:
    """Write the calls of layers as Keras 2 did: lists, in which a nested model's first call is call 1."""
    models = [one["name"] for one in settings["layers"] if one["class_name"] in ("Model", "Functional")]
    for one in settings["layers"]:
        one["inbound_nodes"] = [
            [[name, call + (name in models), tensor, {}] for name, call, tensor in histories(node)]
            for node in one["inbound_nodes"]
        ]
    for key in ("input_layers", "output_layers"):
        settings[key] = [settings[key]]


def histories(node: Any) -> Iterator[list[Any]]:
    return (one["config"]["keras_history"] for one in objects(node) if "keras_history" in one["config"])


def as_keras2(model: Any, path: Path, version: str = "2.2.4", edit: Edit = lambda config: None) -> Path:
    """Save a model as Keras 2 did."""
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        aged(config)
        edit(config)
        file.attrs["model_config"], file.attrs["keras_version"] = json.dumps(config), version
    return path


def shaken(model: Any) -> Any:
    """Give all weights values that show when they are mixed up."""
    rng = np.random.default_rng(4)
    for weight in model.weights:
        value = rng.normal(0, 0.5, weight.shape)
        weight.assign(np.abs(value) + 0.5 if weight.name in ("moving_variance", "gamma") else value)
    return model


def samples(model: Any) -> Floats:
    shape = model.inputs[0].shape[1:]
    return np.random.default_rng(5).normal(0, 2, (3, *shape)).astype(np.float32)


def scores(path: Path, x: Floats, weights: Path | None = None) -> Floats:
    """What the exporter takes for the answer of the file."""
    return np.asarray(load_model(find_source(path, weights=weights)).call(x))


@keras.saving.register_keras_serializable(package="test")  # type: ignore[untyped-decorator]
def limited_line(x: Any) -> Any:
    """Keras 2's hard_sigmoid; under that name Keras 3 would put its own in its place."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


# The meaning of hard_sigmoid --------------------------------------------------------------------


def test_the_hard_sigmoid_of_keras_2_is_a_fifth_of_x_and_a_half(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((5,)), layers.Activation("hard_sigmoid")])
    x = np.array([[-3.0, -2.0, 0.0, 1.0, 2.75]], np.float32)
    np.testing.assert_allclose(
        scores(as_keras2(model, tmp_path / "m.h5"), x), [[0, 0.1, 0.5, 0.7, 1]], atol=1e-6
    )
    model.save(tmp_path / "3.h5")
    np.testing.assert_allclose(
        scores(tmp_path / "3.h5", x), [[0, 1 / 6, 0.5, 4 / 6, 5.75 / 6]], atol=1e-6, err_msg="Keras 3"
    )


def test_an_lstm_with_hard_sigmoid_gives_what_its_equations_say(tmp_path: Path) -> None:
    model = shaken(
        keras.Sequential([keras.Input((6, 3)), layers.LSTM(4, recurrent_activation="hard_sigmoid")])
    )
    kernel, recurrent, bias = model.get_weights()
    x = samples(model)
    h = c = np.zeros((3, 4), np.float32)
    for step in x.swapaxes(0, 1):
        gates = np.split(step @ kernel + h @ recurrent + bias, 4, axis=1)
        i, f, o = (np.clip(0.2 * gates[at] + 0.5, 0, 1) for at in (0, 1, 3))
        c = f * c + i * np.tanh(gates[2])
        h = o * np.tanh(c)
    np.testing.assert_allclose(scores(as_keras2(model, tmp_path / "m.h5"), x), h, atol=1e-5)


def gated(act: Any) -> Any:
    """The activation in a convolution, in a layer of its own, and inside a nested model."""
    given = keras.Input((12, 12, 1))
    x = layers.Conv2D(3, 3, activation=act)(given)
    inner = keras.Model(given, layers.Multiply()([x, layers.Activation(act)(x)]))
    outer = keras.Input((12, 12, 1))
    x = layers.SeparableConv2D(3, 3, activation=act)(inner(outer))
    return keras.Model(outer, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def clips(act: Any) -> Any:
    """The activation inside TimeDistributed, Bidirectional and a GRU."""
    encoder = [layers.Conv2D(3, 3, activation=act), layers.GlobalAveragePooling2D(), layers.Activation(act)]
    return keras.Sequential([
        keras.Input((4, 8, 8, 1)),
        layers.TimeDistributed(keras.Sequential([keras.Input((8, 8, 1)), *encoder])),
        layers.Bidirectional(layers.LSTM(3, recurrent_activation=act, return_sequences=True)),
        layers.GRU(3, recurrent_activation=act, reset_after=False),
    ])  # fmt: skip


def convolutional(act: Any) -> Any:
    return keras.Sequential([
        keras.Input((4, 8, 8, 1)),
        layers.ConvLSTM2D(3, 3, recurrent_activation=act),
        layers.GlobalAveragePooling2D(),
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "ending"), [(gated, ".h5"), (gated, ".keras"), (clips, ".h5"), (convolutional, ".h5")]
)
def test_hard_sigmoid_has_its_old_meaning_wherever_it_stands(
    kind: Callable[[Any], Any], ending: str, tmp_path: Path
) -> None:
    written, expected = shaken(kind("hard_sigmoid")), kind(limited_line)
    expected.set_weights(written.get_weights())
    x = samples(written)
    assert np.abs(written.predict(x, verbose=0) - expected.predict(x, verbose=0)).max() > 0.005
    path = tmp_path / f"m{ending}"
    if ending == ".h5":
        as_keras2(written, path)
    else:
        save_zip_of_keras2(written, path)
    np.testing.assert_allclose(scores(path, x), expected.predict(x, verbose=0), atol=1e-5)


def save_zip_of_keras2(model: Any, path: Path) -> None:
    """Save a model as tf.keras 2.12 and later did."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    aged(config)
    members["config.json"] = json.dumps(config).encode()
    members["metadata.json"] = json.dumps({"keras_version": "2.15.0"}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


# Configurations of each age ---------------------------------------------------------------------


def chain() -> Any:
    return shaken(
        keras.Sequential([
            keras.Input((12, 12, 2)),
            layers.DepthwiseConv2D(3),
            layers.SpatialDropout2D(0.2),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.3),
            layers.Conv2D(3, 3, name="block_conv"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ])
    )  # fmt: skip


def without_input(config: dict[str, Any]) -> None:
    """Sequential of Keras 2.2: the first layer has the shape of the input."""
    given, first, *_ = config["config"]["layers"]
    first["config"]["batch_input_shape"] = given["config"]["batch_input_shape"]
    del config["config"]["layers"][0]


def as_a_list(config: dict[str, Any]) -> None:
    """Sequential until Keras 2.2.2: its settings are the list of layers."""
    without_input(config)
    config["config"] = config["config"]["layers"]


@pytest.mark.parametrize("edit", [lambda config: None, without_input, as_a_list])
def test_a_sequential_of_each_age_loads(edit: Edit, tmp_path: Path) -> None:
    model = chain()

    def edited(config: dict[str, Any]) -> None:
        slashed(config)
        edit(config)

    path = as_keras2(model, tmp_path / "m.h5", "2.0.6", edited)
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        group.move("block_conv", "block/conv")
        names = [str(name).replace("block_", "block/") for name in group.attrs["layer_names"]]
        group.attrs["layer_names"] = names
    x = samples(model)
    np.testing.assert_allclose(scores(path, x), model.predict(x, verbose=0), atol=1e-6)


def slashed(config: dict[str, Any]) -> None:
    """Keras 2 allowed slashes in the names of layers; Keras 3 refuses them."""
    for one in objects(config):
        if one["config"].get("name") == "block_conv":
            one["config"]["name"] = "block/conv"


def test_a_key_that_would_change_the_result_is_refused(tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        next(one for one in objects(config) if one["class_name"] == "LSTM")["config"]["time_major"] = True

    model = keras.Sequential([keras.Input((6, 3)), layers.LSTM(4, name="memory")])
    with pytest.raises(ModelError, match=r"layer 'memory' \(LSTM\) has time_major = True.*SavedModel"):
        load_model(find_source(as_keras2(model, tmp_path / "m.h5", edit=edit)))


def test_a_layer_that_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["config"]["layers"][-1]["class_name"] = "LocallyConnected2D"

    model = keras.Sequential([keras.Input((6, 3)), layers.Dense(4, name="last")])
    with pytest.raises(ModelError, match=r"layer 'last' \(LocallyConnected2D\) does not exist in Keras 3"):
        load_model(find_source(as_keras2(model, tmp_path / "m.h5", edit=edit)))


# The order and form of weights ------------------------------------------------------------------


def test_weights_of_a_nested_model_are_found_by_name_whatever_was_frozen(tmp_path: Path) -> None:
    given = keras.Input((12, 12, 1))
    x = layers.BatchNormalization(name="b1")(layers.Conv2D(2, 3, name="c1")(given))
    x = layers.BatchNormalization(name="b2")(layers.Conv2D(2, 3, name="c2")(x))
    outer = keras.Input((12, 12, 1))
    inner = keras.Model(given, x, name="inner")
    model = shaken(keras.Model(outer, layers.GlobalAveragePooling2D()(inner(outer))))
    inner.get_layer("b1").trainable = inner.get_layer("c2").trainable = False

    def edit(config: dict[str, Any]) -> None:
        for one in objects(config):
            one["config"].pop("trainable", None)

    x = samples(model)
    path = as_keras2(model, tmp_path / "m.h5", edit=edit)
    np.testing.assert_allclose(scores(path, x), model.predict(x, verbose=0), atol=1e-6)


def test_a_gru_without_reset_after_resets_before(tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        del next(one for one in objects(config) if one["class_name"] == "GRU")["config"]["reset_after"]

    model = shaken(keras.Sequential([keras.Input((6, 3)), layers.GRU(4, reset_after=False)]))
    x = samples(model)
    path = as_keras2(model, tmp_path / "m.h5", "2.1.6", edit)
    np.testing.assert_allclose(scores(path, x), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_weights_of_cudnn_layers_are_converted(kind: str, tmp_path: Path) -> None:
    """cuDNN keeps each gate's kernels transposed, and a second bias; a CuDNNLSTM adds the two."""
    layer = getattr(layers, kind)
    model = shaken(keras.Sequential([keras.Input((6, 3)), layers.Bidirectional(layer(4), name="both")]))

    def edit(config: dict[str, Any]) -> None:
        for one in objects(config):
            if one["class_name"] == kind:
                one["class_name"] = f"CuDNN{kind}"
                kept = ("name", "units", "go_backwards", "return_sequences")
                one["config"] = {key: one["config"][key] for key in kept}

    path = as_keras2(model, tmp_path / "m.h5", "2.2.4", edit)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/both"]
        for name in group.attrs["weight_names"]:
            value = group[name][()]
            del group[name]
            group[name] = cudnn_form(str(name).rpartition("/")[2], value)
    x = samples(model)
    np.testing.assert_allclose(scores(path, x), model.predict(x, verbose=0), atol=1e-6)


def cudnn_form(name: str, value: Floats) -> Floats:
    if name == "bias":
        return value.ravel() if value.ndim == 2 else np.concatenate([value * 0.25, value * 0.75])
    gates = np.split(value, value.shape[1] // 4, axis=1)
    return np.hstack([gate.ravel(order="F").reshape(gate.shape) for gate in gates])


def test_weights_that_do_not_fit_are_refused_with_their_shapes(tmp_path: Path) -> None:
    path = as_keras2(keras.Sequential([keras.Input((3,)), layers.Dense(4, name="last")]), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        group = file["model_weights/last"]
        name = group.attrs["weight_names"][1]
        del group[name]
        group[name] = np.zeros(5, np.float32)
    with pytest.raises(ModelError, match=r"layer 'last' takes weights of \[\(3, 4\), \(4,\)\].*\(5,\)"):
        load_model(find_source(path))


def test_weights_in_another_file_are_not_read(tmp_path: Path) -> None:
    path = as_keras2(keras.Sequential([keras.Input((3,)), layers.Dense(4, name="last")]), tmp_path / "m.h5")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.zeros(4, np.float32)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/last"]
        name = group.attrs["weight_names"][1]
        del group[name]
        group[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "secret")
    with pytest.raises(ModelError, match=r"weights .* are not in the file"):
        load_model(find_source(path))


def test_a_file_of_theano_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = as_keras2(keras.Sequential([keras.Input((3,)), layers.Dense(4)]), tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        file["model_weights"].attrs["backend"] = "theano"
    with pytest.raises(ModelError, match="written with Theano, whose convolutions are mirrored"):
        load_model(find_source(path))


# Architecture and weights apart -----------------------------------------------------------------


def apart(model: Any, folder: Path) -> tuple[Path, Path]:
    """Save the architecture as JSON and the weights alone, as Keras 2 did."""
    whole = as_keras2(model, folder / "whole.h5", "2.4.0")
    with h5py.File(whole) as file, h5py.File(folder / "weights.h5", "w") as alone:
        config = json.loads(file.attrs["model_config"])
        for name in file["model_weights"]:
            file.copy(f"model_weights/{name}", alone)
        for key, value in file["model_weights"].attrs.items():
            alone.attrs[key] = value
    whole.unlink()
    text = json.dumps({**config, "keras_version": "2.4.0", "backend": "tensorflow"})
    (folder / "architecture.json").write_text(text)
    return folder / "architecture.json", folder / "weights.h5"


def test_an_architecture_and_its_weights_become_a_package(tmp_path: Path) -> None:
    model = shaken(
        keras.Sequential([
            keras.Input((12, 12, 1)),
            layers.Conv2D(3, 3, activation="hard_sigmoid"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ])
    )  # fmt: skip
    architecture, weights = apart(model, tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    options = ["--weights", weights, "--labels", tmp_path / "labels.txt", "--normalize", "unit"]
    result = CliRunner().invoke(
        export, [str(one) for one in (architecture, *options, "--out", tmp_path / "out")]
    )
    assert result.exit_code == 0, result.output
    receipt = json.loads((tmp_path / "out/receipt.json").read_text())
    assert receipt["source"]["file"] == "architecture.json"
    assert receipt["source"]["weights"] == "weights.h5"
    assert receipt["parity"]["keras_vs_onnx"] <= 1e-5
    kernel, bias, *_ = (weight.numpy() for weight in model.weights)
    x = samples(model)
    windows = np.lib.stride_tricks.sliding_window_view(x[..., 0], (3, 3), axis=(1, 2))
    gates = np.clip(0.2 * (np.einsum("nhwij,ijc->nhwc", windows, kernel[:, :, 0]) + bias) + 0.5, 0, 1)
    logits = gates.mean(axis=(1, 2)) @ model.weights[2].numpy() + model.weights[3].numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    package = load_package(tmp_path / "out")
    np.testing.assert_allclose(make_session(package.read("model")).run1(x), expected, atol=1e-5)


def refused(message: str, error: type[EdgeharferError], model: Path, weights: Path | None = None) -> None:
    with pytest.raises(error, match=message) as caught:
        export_model(model, model.parent / "out", labels=("a", "b"), normalize="unit", weights=weights)
    assert "\n" not in str(caught.value)


def test_what_belongs_together_is_asked_for(tmp_path: Path) -> None:
    architecture, weights = apart(keras.Sequential([keras.Input((3,)), layers.Dense(4)]), tmp_path)
    refused("architecture without weights: pass their .h5 file as --weights", ConfigError, architecture)
    refused("JSON file as MODEL and this file as --weights", ModelError, weights)
    refused("--weights belongs to a .json architecture", ConfigError, weights, weights)
    refused("no such .h5 or .hdf5 file of weights", ConfigError, architecture, tmp_path / "none.h5")
