"""Keras models become packages that give what Keras gives; what cannot is told in one line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import tiny_patterns
from edgeharfer.export import Int8Options, ModelOptions, backend, export_model
from edgeharfer.export.loading import load_model
from edgeharfer.export.source import find_source
from edgeharfer.runtime.errors import ConfigError, EdgeharferError, ModelError
from edgeharfer.runtime.inference.package import Package, verify_package
from edgeharfer.runtime.inference.session import make_session
from edgeharfer.runtime.tasks.rolling import RollingHead

keras: Any = backend.load("keras")
layers: Any = keras.layers

LABELS = ("a", "b", "c")
LEGACY = Path(__file__).parents[3] / "shared/data/legacy-keras/fer2013_mini_XCEPTION.102-0.66.hdf5"
FER7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def picture(size: int = 24, channels: int = 1) -> Any:
    return keras.Input((size, size, channels))


def trunk(x: Any) -> Any:
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(6, 3, use_bias=False)(x)))
    return layers.GlobalAveragePooling2D()(x)


def sequential() -> Any:
    return keras.Sequential(
        [
            picture(),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def functional() -> Any:
    return keras.Model(given := picture(), layers.Dense(3)(trunk(given)))


def nested() -> Any:
    inner = keras.Model(given := picture(), trunk(given))
    return keras.Sequential([picture(), inner, layers.Dropout(0.4), layers.Dense(3), layers.Softmax()])


def padded() -> Any:
    """Zeros around a pool whose input is below zero, as ResNet50V2 begins."""
    return keras.Sequential(
        [
            picture(),
            layers.Conv2D(4, 3, bias_initializer=keras.initializers.Constant(-3.0)),
            layers.ZeroPadding2D(1),
            layers.MaxPooling2D(3, 2),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def clip_model(alpha: float = 0.35, size: int = 32) -> Any:
    backbone = keras.applications.MobileNetV2(
        (size, size, 3), alpha=alpha, weights=None, include_top=False, pooling="avg"
    )
    x = layers.TimeDistributed(backbone)(given := keras.Input((4, size, size, 3)))
    x = layers.Dropout(0.2)(layers.LSTM(8)(x))
    return keras.Model(given, layers.Dense(3, activation="softmax")(x))


def scattered(model: Any) -> Any:
    """Weights at which classes differ: a fresh MobileNetV2 says nearly the same of every picture."""
    rng = np.random.default_rng(11)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma, rng.normal(0, 0.5, beta.shape), mean, variance * 0.1])
    return model


def receipt_of(package: Package) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((package.path / "receipt.json").read_text())
    return data


def session_of(package: Package, role: str = "model", precision: str = "fp32") -> Any:
    return make_session(package.read(role, precision))


@pytest.mark.parametrize(
    ("make", "output"),
    [(sequential, "probs"), (functional, "logits"), (nested, "probs"), (padded, "logits")],
)
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_picture_models_give_what_keras_gives(tmp_path: Path, make: Any, output: str, ending: str) -> None:
    model = make()
    model.save(tmp_path / f"m{ending}")
    package = export_model(tmp_path / f"m{ending}", tmp_path / "out", labels=LABELS, normalize="unit")
    assert (package.manifest.task, package.manifest.output) == ("emotion", output)
    session = session_of(package)
    assert session.inputs == {"image": ("batch", 24, 24, 1)}
    assert session.outputs == {output: ("batch", 3)}
    images = np.random.default_rng(1).random((3, 24, 24, 1), np.float32)
    np.testing.assert_allclose(session.run1(images), np.asarray(model(images, training=False)), atol=1e-5)
    receipt = receipt_of(package)
    assert receipt["parity"]["inputs"] == "8 of noise"
    assert receipt["parity"]["keras_vs_onnx"] <= 1e-5
    assert receipt["opset"] == package.manifest.opset == 17
    assert receipt["source"]["file"] == f"m{ending}"
    assert receipt["files"]["model.onnx"]["bytes"] == (package.path / "model.onnx").stat().st_size


def test_a_saved_model_gives_what_keras_gives(tmp_path: Path) -> None:
    model = functional()
    model.export(tmp_path / "saved", verbose=False)
    package = export_model(tmp_path / "saved", tmp_path / "out", labels=LABELS, normalize="unit")
    images = np.random.default_rng(1).random((3, 24, 24, 1), np.float32)
    wanted = np.asarray(model(images, training=False))
    np.testing.assert_allclose(session_of(package).run1(images), wanted, atol=1e-5)


def served(folder: Path, models: list[Any], function: Callable[[Any], Any], *spec: Any) -> Path:
    """Save a function of these models as a SavedModel; `spec` is the shape and type of its input."""
    tf = backend.load("tensorflow")
    module = tf.Module()
    module.variables_of_models = [model.variables for model in models]
    module.serve = tf.function(lambda x: {"y": function(x)}, input_signature=[tf.TensorSpec(*spec, name="x")])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    return folder


@pytest.mark.parametrize("size", [1, 5])
def test_the_batch_of_a_saved_model_is_freed(tmp_path: Path, size: int) -> None:
    model = sequential()
    path = served(tmp_path / "saved", [model], model, (size, 24, 24, 1), "float32")
    package = export_model(path, tmp_path / "out", labels=LABELS, normalize="unit")
    images = np.random.default_rng(1).random((3, 24, 24, 1), np.float32)
    np.testing.assert_allclose(session_of(package).run1(images), model(images, training=False), atol=1e-5)


def test_a_saved_model_takes_bytes(tmp_path: Path) -> None:
    tf, model = backend.load("tensorflow"), sequential()

    def serve(pixels: Any) -> Any:
        return model(tf.cast(pixels, tf.float32) - 99.0, training=False)

    path = served(tmp_path / "saved", [model], serve, (None, 24, 24, 1), "uint8")
    with pytest.raises(ConfigError, match="already scales raw pixels: remove --normalize"):
        export_model(path, tmp_path / "out", labels=LABELS, normalize="unit")
    package = export_model(path, tmp_path / "out", labels=LABELS)
    assert package.manifest.input.normalize == "none"
    pixels = np.random.default_rng(1).integers(0, 256, (3, 24, 24, 1), np.uint8)
    np.testing.assert_allclose(
        session_of(package).run1(pixels.astype(np.float32)), serve(pixels), rtol=1e-5, atol=1e-5
    )


def test_bytes_without_arithmetic_are_raw_pixels_too(tmp_path: Path) -> None:
    tf, model = backend.load("tensorflow"), sequential()

    def serve(pixels: Any) -> Any:
        return model(tf.cast(pixels, tf.float32))

    path = served(tmp_path / "saved", [model], serve, (None, 24, 24, 1), "uint8")
    with pytest.raises(ConfigError, match="already scales raw pixels: remove --normalize"):
        export_model(path, tmp_path / "out", labels=LABELS, normalize="unit")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ((None, "float32"), "the shape of its input is unknown"),
        (((None,), "string"), "its input 'x' is string, not numbers"),
    ],
    ids=["any shape", "files"],
)
def test_a_saved_model_without_pictures_is_refused(
    tmp_path: Path, spec: tuple[Any, str], message: str
) -> None:
    refused(served(tmp_path / "saved", [], lambda x: x, *spec), tmp_path, message)


def test_an_output_of_a_saved_model_is_chosen(tmp_path: Path) -> None:
    inner = functional()
    two = keras.Model(
        inner.inputs, {"probs": inner.output, "twice": keras.layers.Rescaling(2.0)(inner.output)}
    )
    two.export(tmp_path / "saved", verbose=False)
    with pytest.raises(ConfigError, match=r"several outputs \(probs, twice\): choose one with --output"):
        load_model(find_source(tmp_path / "saved"))
    loaded = load_model(find_source(tmp_path / "saved"), ModelOptions(output="twice"))
    images = np.random.default_rng(1).random((3, 24, 24, 1), np.float32)
    np.testing.assert_allclose(
        loaded.call(backend.load("tensorflow").constant(images)), 2 * inner(images), atol=1e-6
    )


def test_a_clip_model_is_split_and_streams_to_the_same_result(tmp_path: Path) -> None:
    model = scattered(clip_model())
    model.save(tmp_path / "m.keras")
    clips = np.random.default_rng(2).uniform(-1, 1, (2, 4, 32, 32, 3)).astype(np.float32)
    package = export_model(
        tmp_path / "m.keras",
        tmp_path / "out",
        labels=LABELS,
        normalize="symmetric",
        precisions=("fp32", "fp16"),
        samples=clips,
    )
    manifest = verify_package(package.path).manifest
    assert (manifest.task, manifest.window is not None and manifest.window.frames) == ("action", 4)
    assert package.read("head").info.nodes["LSTM"] == 1
    assert not {"Loop", "Scan", "If"} & set(package.read("head").info.nodes)
    assert "LSTM" not in package.read("encoder").info.nodes
    encoder, head = session_of(package, "encoder"), session_of(package, "head")
    assert (encoder.input_name, encoder.output_names) == ("image", ("features",))
    assert (head.inputs, head.output_names) == ({"window": ("batch", 4, 1280)}, ("probs",))
    streamed = head.run1(np.stack([encoder.run1(clip) for clip in clips]))
    np.testing.assert_allclose(streamed, np.asarray(model(clips, training=False)), atol=1e-5)
    parity = receipt_of(package)["parity"]
    assert parity["inputs"] == "2 given"
    assert parity["whole_vs_streaming"] <= 1e-5
    assert parity["fp16"] <= 2e-2
    assert parity["fp32_rolling"] <= 1e-5
    assert set(manifest.files["fp32"]) - set(manifest.files["fp16"]) == {"rolling"}
    assert package.read("rolling").info.nodes["LSTM"] == 1
    rolling = RollingHead(session_of(package, "rolling"), 4)
    for clip, wanted in zip(clips, streamed, strict=True):
        scores = [rolling.push(features) for features in encoder.run1(clip)]
        np.testing.assert_allclose(scores[-1][0], wanted, atol=1e-5)


def gru_model() -> Any:
    """A nested model with a scale before it, a GRU, and dropout and a layer after it; logits."""
    cnn = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(5, 3, activation="relu")])
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(
        layers.TimeDistributed(cnn)(given := keras.Input((4, 16, 16, 3)))
    )
    inner = keras.Model(given, layers.GRU(6)(layers.Dropout(0.2)(x)))
    clip = keras.Input((4, 16, 16, 3))
    x = layers.Dropout(0.3)(inner(layers.Rescaling(1 / 255)(clip)))
    return keras.Model(clip, layers.Dense(3)(layers.Dense(5, activation="relu")(x)))


def test_nested_recurrent_models_are_split_and_hold_no_loop(tmp_path: Path) -> None:
    model = gru_model()
    model.save(tmp_path / "m.keras")
    package = export_model(tmp_path / "m.keras", tmp_path / "out", labels=LABELS)
    assert (package.manifest.input.normalize, package.manifest.output) == ("none", "logits")
    assert not {"Loop", "Scan", "If"} & set(package.read("head").info.nodes)
    parity = receipt_of(package)["parity"]
    assert parity["whole_vs_streaming"] <= 1e-5
    assert parity["top1_agreement"] == {"whole_vs_streaming": 1.0, "fp32": 1.0}
    assert "whole" not in receipt_of(package)


@pytest.mark.parametrize("saved", [False, True], ids=["keras", "savedmodel"])
def test_what_cannot_be_split_is_exported_whole_with_the_reason(tmp_path: Path, saved: bool) -> None:
    model = cube()
    path = tmp_path / ("saved" if saved else "m.keras")
    if saved:
        model.export(path, verbose=False)
    else:
        model.save(path)
    lines: list[str] = []
    package = export_model(path, tmp_path / "out", labels=LABELS, normalize="unit", report=lines.append)
    reason = "frames are not put into the batch" if saved else "layer 'cube' (Conv3D) mixes frames"
    assert reason in receipt_of(package)["whole"]
    assert any(line.startswith("exporting the model unsplit") and reason in line for line in lines)
    clips = np.random.default_rng(2).random((2, 4, 12, 12, 3), np.float32)
    encoder, head = session_of(package, "encoder"), session_of(package, "head")
    streamed = head.run1(np.stack([encoder.run1(clip) for clip in clips]))
    np.testing.assert_allclose(streamed, np.asarray(model(clips, training=False)), atol=1e-5)
    verify_package(package.path)


def stripes_model() -> Any:
    """The hand-made network of `tiny_patterns` in Keras."""
    ours = onnx.load_from_string(tiny_patterns.classifier())
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in ours.graph.initializer}
    x = layers.Conv2D(8, 3, activation="relu", name="first")(given := picture())
    x = layers.Conv2D(4, 3, activation="relu", name="second")(x)
    model = keras.Model(given, layers.Dense(4, name="last")(layers.GlobalAveragePooling2D()(x)))
    for name, kernel in (("first", weights["w1"]), ("second", weights["w2"])):
        layer = model.get_layer(name)
        layer.set_weights([kernel.transpose(2, 3, 1, 0), np.zeros(len(kernel))])
    model.get_layer("last").set_weights([weights["w3"], weights["b3"]])
    return model


def test_the_chain_from_keras_to_int8_stands_in_the_receipt(tmp_path: Path) -> None:
    data = tiny_patterns.write_pictures(tmp_path / "data", {"train": 10, "val": 10})
    stripes_model().save(tmp_path / "m.keras")
    package = export_model(
        tmp_path / "m.keras",
        tmp_path / "out",
        labels=tiny_patterns.CLASSES,
        normalize="unit",
        precisions=("fp32", "fp16", "int8"),
        int8=Int8Options(data, data, items=30, keep_slower=True),
    )
    assert set(verify_package(package.path).manifest.files) == {"fp32", "fp16", "int8"}
    receipt = receipt_of(package)
    parity = receipt["parity"]
    assert parity["inputs"] == "32 of the calibration set"
    assert parity["keras_vs_onnx"] <= 1e-5
    assert parity["fp32"] <= 1e-5 < parity["int8"] < 0.3
    assert set(parity["top1_agreement"]) == {"keras_vs_onnx", "fp32", "fp16", "int8"}
    assert parity["top1_agreement"]["int8"] > 0.9
    assert receipt["int8"]["guard"]["fp32_top1"] == 1.0
    assert set(receipt["files"]) == {"model.onnx", "model.fp16.onnx", "model.int8.onnx"}


def test_a_refused_int8_leaves_no_package(tmp_path: Path) -> None:
    data = tiny_patterns.write_pictures(tmp_path / "data", {"val": 10})
    poison = tiny_patterns.write_flat(tmp_path / "poison", 0, 0)
    stripes_model().save(tmp_path / "m.keras")
    int8 = Int8Options(poison, data, items=30)
    options: dict[str, Any] = {"labels": tiny_patterns.CLASSES, "precisions": ("fp32", "int8"), "int8": int8}
    refused(tmp_path / "m.keras", tmp_path, "INT8 is rejected", **options)


def test_one_run_is_exported_to_several_packages(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    features = trunk(given := picture())
    heads = {"wide": layers.Dense(4, name="wide")(features), "fine": layers.Dense(3, name="fine")(features)}
    model = keras.Model(given, heads)
    model.save(run / "model.keras")
    record = {
        "input": {"normalize": "standardize"},
        "crop": {"align": "eyes", "expand": 1.4, "shift_y": 0.1},
        "temperature": 1.2,
        "training": {"data": "made up"},
        "packages": {
            "wide-four": {"head": "wide", "labels": ["a", "b", "c", "d"]},
            "fine-three": {"head": "fine", "labels": list(LABELS), "threshold": 0.4},
        },
    }
    (run / "package.json").write_text(json.dumps(record))
    (run / "MODELCARD.md").write_text("# The run's own card\n")
    images = np.random.default_rng(1).random((3, 24, 24, 1), np.float32)
    for name, head in (("wide-four", "wide"), ("fine-three", "fine")):
        package = export_model(run, tmp_path / name, name=name, facts={"accuracy": {"top1": 0.5}})
        manifest = package.manifest
        assert (manifest.name, manifest.temperature, manifest.output) == (name, 1.2, "logits")
        assert manifest.crop is not None
        assert (manifest.crop.align, manifest.input.normalize) == ("eyes", "standardize")
        assert manifest.training == {"data": "made up"}
        assert manifest.accuracy == {"top1": 0.5}
        card = (package.path / "MODELCARD.md").read_text()
        assert card.startswith("# The run's own card\n")
        assert "## Conversion and cost" in card
        assert "- model: " in card
        wanted = np.asarray(model(images, training=False)[head])
        np.testing.assert_allclose(session_of(package).run1(images), wanted, atol=1e-5)
    assert package.manifest.threshold == 0.4


def test_a_graph_that_scales_itself_takes_raw_pixels(tmp_path: Path) -> None:
    inner = keras.Sequential([picture(), layers.Rescaling(1 / 255), layers.Conv2D(4, 3)])
    keras.Sequential(
        [picture(), inner, layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")]
    ).save(tmp_path / "m.keras")
    package = export_model(tmp_path / "m.keras", tmp_path / "out", labels=LABELS)
    assert package.manifest.input.normalize == "none"


def test_weights_can_be_stored_as_halves(tmp_path: Path) -> None:
    sequential().save(tmp_path / "m.keras")
    options: dict[str, Any] = {"labels": LABELS, "normalize": "unit"}
    full = export_model(tmp_path / "m.keras", tmp_path / "full", **options)
    half = export_model(tmp_path / "m.keras", tmp_path / "half", half_weights=True, **options)
    assert half.manifest.files["fp32"]["model"].bytes < 0.6 * full.manifest.files["fp32"]["model"].bytes
    parity = receipt_of(half)["parity"]
    assert parity["keras_vs_onnx"] <= 1e-5
    assert 2 * parity["keras_vs_onnx"] < parity["fp32"] <= 1e-2, "what is halved is rounded, and no more"


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    sequential().save(tmp_path / "m.keras")
    options: dict[str, Any] = {"labels": LABELS, "normalize": "unit", "name": "same"}
    first = export_model(tmp_path / "m.keras", tmp_path / "1", **options)
    second = export_model(tmp_path / "m.keras", tmp_path / "2", **options)
    assert first.manifest == second.manifest
    assert (tmp_path / "1" / "model.onnx").read_bytes() == (tmp_path / "2" / "model.onnx").read_bytes()
    receipts = [json.loads((tmp_path / one / "receipt.json").read_text()) for one in ("1", "2")]
    measured = [receipt.pop("latency_ms") for receipt in receipts]
    assert receipts[0] == receipts[1]
    assert all(list(one) == ["model"] and one["model"] > 0 for one in measured)


def test_exporting_is_quiet_but_for_its_report(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sequential().save(tmp_path / "m.keras")
    capfd.readouterr()
    lines: list[str] = []
    export_model(tmp_path / "m.keras", tmp_path / "out", labels=LABELS, normalize="unit", report=lines.append)
    assert capfd.readouterr() == ("", "")
    assert lines[0].startswith("loading ")
    assert lines[-1] == f"wrote {tmp_path / 'out'}"


@pytest.mark.data
def test_a_real_keras_2_file_converts(tmp_path: Path) -> None:
    if not LEGACY.exists():
        pytest.skip("the Keras 2 file of mini-Xception is not here")
    package = export_model(LEGACY, tmp_path / "out", labels=FER7, normalize="symmetric")
    assert package.manifest.input.width == 64
    assert receipt_of(package)["parity"]["keras_vs_onnx"] <= 1e-4


# What cannot be exported ------------------------------------------------------------------------


def refused(path: Path, tmp_path: Path, message: str, **options: Any) -> None:
    """The export fails in one line that matches, and leaves nothing behind."""
    settings: dict[str, Any] = {"labels": LABELS, "normalize": "unit", **options}
    with pytest.raises(EdgeharferError, match=message) as caught:
        export_model(path, tmp_path / "out", **settings)
    assert isinstance(caught.value, ModelError | ConfigError)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("damage", ["empty", "noise", "cut"])
def test_damaged_files(tmp_path: Path, ending: str, damage: str) -> None:
    path = tmp_path / f"m{ending}"
    sequential().save(path)
    good = path.read_bytes()
    middle = len(good) // 2
    path.write_bytes(
        {
            "empty": b"",
            "noise": np.random.default_rng(3).bytes(4096),
            "cut": good[:middle],
        }[damage]
    )
    refused(path, tmp_path, rf"m\{ending}: cannot be loaded: \w")


def with_lambda() -> Any:
    return keras.Sequential(
        [picture(), layers.Lambda(lambda x: x * 2, name="twice"), layers.Flatten(), layers.Dense(3)]
    )


@keras.saving.register_keras_serializable("mine")
class Custom(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return x


def with_custom() -> Any:
    return keras.Sequential([picture(), Custom(name="own"), layers.Flatten(), layers.Dense(3)])


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (with_lambda, r"layer 'twice' \(Lambda\) contains code"),
        (with_custom, r"layer 'own' \(.*Custom\) is not part of Keras"),
    ],
)
def test_layers_that_need_code_are_named(tmp_path: Path, make: Any, message: str, ending: str) -> None:
    make().save(tmp_path / f"m{ending}")
    refused(tmp_path / f"m{ending}", tmp_path, message)


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x: Any) -> Any:
        return self.dense(keras.ops.mean(x, (1, 2)))


def test_a_subclassed_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), np.float32))
    model.save(tmp_path / "m.keras")
    message = r"its class 'Subclassed' is code, .*: save the model as a SavedModel"
    refused(tmp_path / "m.keras", tmp_path, message)


def change_config(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite the architecture inside a .keras file."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def test_a_config_cannot_reach_for_other_modules(tmp_path: Path) -> None:
    sequential().save(tmp_path / "m.keras")

    def reach(config: dict[str, Any]) -> None:
        layer = config["config"]["layers"][1]
        layer.update(module="os", class_name="system", registered_name=None)

    change_config(tmp_path / "m.keras", reach)
    refused(tmp_path / "m.keras", tmp_path, r"\(system\) is not part of Keras")


def two_inputs() -> Any:
    one, other = picture(), picture()
    return keras.Model([one, other], layers.Dense(3)(layers.Flatten()(layers.Add()([one, other]))))


def two_outputs() -> Any:
    features = trunk(given := picture())
    return keras.Model(given, [layers.Dense(3, name="x")(features), layers.Dense(3, name="y")(features)])


def table() -> Any:
    return keras.Sequential([keras.Input((5,)), layers.Dense(3)])


def cube() -> Any:
    x = layers.Conv3D(2, 3, name="cube")(given := keras.Input((4, 12, 12, 3)))
    return keras.Model(given, layers.Dense(3)(layers.GlobalAveragePooling3D()(x)))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (two_inputs, {}, "takes 2 inputs"),
        (two_outputs, {}, r"has several outputs \(x, y\)"),
        (table, {}, "neither an image nor a clip"),
        (sequential, {"labels": ("a", "b")}, r"its output \? x 3 does not fit 2 labels"),
        (sequential, {"labels": None}, "pass --labels"),
        (sequential, {"labels": ("a", "a", "b")}, "duplicate label"),
        (sequential, {"normalize": "auto"}, "pass --normalize"),
        (sequential, {"task": "action", "options": ModelOptions(crop="face")}, "fits the task emotion, not"),
        (sequential, {"facts": {"threshold": 7}}, "threshold: must be a number from 0 to 1"),
        (sequential, {"facts": {"colour": 7}}, "unknown key 'colour'"),
        (
            sequential,
            {"facts": {"input": {"width": 32}}},
            "takes images of 24 x 24 x 1, but its record has width",
        ),
        (sequential, {"precisions": ("fp32", "int8")}, "INT8 requires calibration data: pass --calibration"),
        (sequential, {"samples": np.zeros((1, 8, 8, 1), np.float32)}, "samples have the shape 1 x 8 x 8 x 1"),
    ],
)
def test_models_and_options_that_do_not_fit(tmp_path: Path, make: Any, options: Any, message: str) -> None:
    make().save(tmp_path / "m.keras")
    refused(tmp_path / "m.keras", tmp_path, message, **options)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_weights_that_no_package_can_hold_are_refused_before_they_are_read(
    tmp_path: Path, ending: str
) -> None:
    """Ten gigabytes, declared in a file of some kilobytes."""
    h5py = backend.load("h5py")
    path = tmp_path / f"m{ending}"
    sequential().save(path)
    place, group = (path, "model_weights") if ending == ".h5" else (tmp_path / "w.h5", "layers")
    if ending == ".keras":
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        place.write_bytes(parts["model.weights.h5"])
    with h5py.File(place, "r+") as file:
        file[group].create_dataset("huge/kernel", shape=(50_000, 50_000), dtype="f4")
    if ending == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**parts, "model.weights.h5": place.read_bytes()}.items():
                archive.writestr(name, content)
    assert path.stat().st_size < 1_000_000
    refused(path, tmp_path, r"its weights take 10.0 GB, more than the 1.1 GB")


def test_a_file_of_weights_alone(tmp_path: Path) -> None:
    sequential().save_weights(tmp_path / "m.weights.h5")
    refused(tmp_path / "m.weights.h5", tmp_path, "contains weights but no model")


def test_a_saved_model_that_reads_files_is_refused(tmp_path: Path) -> None:
    tf = backend.load("tensorflow")

    def serve(image: Any) -> Any:
        size = tf.strings.length(tf.io.read_file("/etc/hostname"))
        return tf.reduce_mean(image, axis=(1, 2)) * tf.cast(size, tf.float32)

    module = tf.Module()
    module.serve = tf.function(serve, input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32)])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.serve})
    refused(tmp_path / "saved", tmp_path, r"\(ReadFile\) accesses files")
