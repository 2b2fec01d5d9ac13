"""`edgeharfer inspect`: what files take and give, and what fits them on labelled data."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

import tiny_patterns
from edgeharfer.cli import run_command
from edgeharfer.export import backend
from edgeharfer.export.inspection import inspect_model
from edgeharfer.export.inspection.graphs import describe_onnx, describe_tflite
from edgeharfer.export.source import find_source
from edgeharfer.runtime.inference.package import load_package, write_manifest

keras: Any = backend.load("keras")
layers: Any = keras.layers

LEVELS = {"dark": 25, "dim": 90, "fair": 165, "bright": 230}
"""Class to the brightness of its pictures; the model has its outputs in this order."""


def inspected(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """What the command writes with --json."""
    target = tmp_path / "found.json"
    assert run_command(["inspect", *map(str, arguments), "--json", str(target)]) == 0
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def brightness_model(folder: Path) -> Path:
    """Tells how bright the blue of a picture is, if its pixels are scaled to [0, 1]; blue is channel 0."""
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.GlobalAveragePooling2D(), layers.Dense(4, activation="softmax")]
    )
    centres = np.array(list(LEVELS.values()), np.float32) / 255
    kernel = np.zeros((3, 4), np.float32)
    kernel[0] = 2 * centres
    model.layers[-1].set_weights([kernel * 50, -(centres**2) * 50])
    model.save(folder / "model.keras")
    return folder / "model.keras"


def write_levels(folder: Path) -> Path:
    """Pictures whose blue has the level of their class, and the other channels any level."""
    rng = np.random.default_rng(5)
    for name, level in LEVELS.items():
        (folder / name).mkdir(parents=True)
        for number in range(6):
            picture = np.empty((8, 8, 3), np.uint8)
            picture[:] = (level, *rng.integers(0, 256, 2))
            cv2.imwrite(str(folder / name / f"{number}.png"), picture)
    return folder


def test_a_keras_file_is_tried_on_data_and_its_command_line_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, data = brightness_model(tmp_path), write_levels(tmp_path / "data")
    found = inspected(tmp_path, model, "--data", data, "--write-labels", tmp_path / "labels.txt")
    assert (found["kind"], found["reads"], found["layout"], found["ending"]) == (
        "keras", "picture", "nhwc", "softmax",
    )  # fmt: skip
    assert found["inputs"][0]["shape"] == [None, 8, 8, 3]
    assert found["outputs"][0]["shape"] == [None, 4]
    assert (found["parameters"], found["operators"]["Dense"]) == (16, 1)
    best = found["fits"][0]
    assert (best["top1"], best["channels"], best["normalize"], best["fitted"]) == (1.0, "bgr", "unit", True)
    assert best["labels"] == list(LEVELS)
    assert (tmp_path / "labels.txt").read_text().split() == list(LEVELS)
    printed = capsys.readouterr().out
    assert "fitted to this data" in printed and found["command"] in printed
    words = shlex.split(found["command"])
    words[words.index("labels.txt")] = str(tmp_path / "labels.txt")
    words[words.index("package")] = str(tmp_path / "package")
    assert run_command(words[1:]) == 0
    manifest = load_package(tmp_path / "package").manifest
    assert (manifest.labels, manifest.input.color) == (tuple(LEVELS), "bgr")
    assert run_command(["evaluate", str(tmp_path / "package"), "--data", str(data)]) == 0
    assert "top1 1.0000" in capsys.readouterr().out


def test_a_package_with_labels_in_another_order(tmp_path: Path) -> None:
    package = tiny_patterns.picture_package(tmp_path / "package")
    wrong = ("down", "across", "right", "left")
    write_manifest(package.path, replace(package.manifest, labels=wrong))
    data = tiny_patterns.write_pictures(tmp_path / "data", {"val": 12})
    fits = inspect_model(package.path, data=data).fits
    assert fits[0].labels == tiny_patterns.CLASSES and fits[0].top1 > 0.95
    stated = next(fit for fit in fits if fit.order == "its manifest")
    assert stated.labels == wrong and stated.top1 < 0.1


def test_a_package_of_clips_is_judged_by_clip(tmp_path: Path) -> None:
    package = tiny_patterns.clip_package(tmp_path / "package")
    data = tiny_patterns.write_clips(tmp_path / "clips", clips=1)
    best = inspect_model(package.path, data=data).fits[0]
    assert (best.labels, best.n, best.top1) == (tiny_patterns.CLASSES, 4, 1.0)


def test_evaluation_warns_and_names_the_better_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tiny_patterns.picture_package(tmp_path / "package")
    write_manifest(package.path, replace(package.manifest, labels=("down", "across", "right", "left")))
    data = tiny_patterns.write_pictures(tmp_path / "data", {"val": 12})
    figures = tmp_path / "figures.json"
    assert run_command(["evaluate", str(package.path), "--data", str(data), "--json", str(figures)]) == 0
    assert "warning: the labels seem to be in another order" in capsys.readouterr().err
    assert json.loads(figures.read_text())["label_order"]["labels"] == list(tiny_patterns.CLASSES)


def test_an_onnx_file_is_described_without_running_it(tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_patterns.classifier())
    first = model.graph.node[0]
    model.graph.node.insert(0, onnx.helper.make_node("Div", ["image", "d"], ["scaled"], "scale"))
    first.input[0] = "scaled"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(255, np.float32), "d"))
    model.metadata_props.add(key="names", value="{0: 'across', 1: 'down', 2: 'left', 3: 'right'}")
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    found = describe_onnx(path)
    assert (found.scaling, found.ending, found.layout) == (["Div"], "logits", "nhwc")
    assert found.inputs[0].shape == ("batch", 24, 24, 1)
    assert found.labels == {"its metadata (names)": list(tiny_patterns.CLASSES)}
    assert found.operators["Conv"] == 2
    assert "by the graph (Div): it takes raw pixels" in "\n".join(found.lines())


def test_a_saved_model_is_described_with_all_outputs(tmp_path: Path) -> None:
    given = keras.Input((None, None, 3), dtype="uint8", name="pixels")
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(given))
    keras.Model(given, {"mood": layers.Dense(7)(x), "age": layers.Dense(1)(x)}).export(
        tmp_path / "saved", verbose=False
    )
    found = inspected(tmp_path, tmp_path / "saved")
    assert found["inputs"] == [{"name": "pixels", "shape": [None, None, None, 3], "dtype": "uint8"}]
    assert [(one["name"], one["shape"]) for one in found["outputs"]] == [
        ("age", [None, 1]),
        ("mood", [None, 7]),
    ]
    assert found["scaling"] == ["input of bytes"]


def test_a_tflite_file_is_described(tmp_path: Path) -> None:
    tf = backend.load("tensorflow")
    model = keras.saving.load_model(brightness_model(tmp_path), compile=False)
    with backend.quiet():
        function = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec((1, 8, 8, 3)))
        data = tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert()
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    found = describe_tflite(path)
    assert (found.inputs[0].shape, found.inputs[0].dtype) == ((1, 8, 8, 3), "float32")
    assert (found.outputs[0].shape[-1], found.ending, found.reads) == (4, "softmax", "picture")
    assert found.operators["SOFTMAX"] == 1


def test_what_export_refuses_is_described_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = keras.Sequential([keras.Input((30, 12)), layers.LSTM(4), layers.Dense(2, activation="softmax")])
    model.save(tmp_path / "points.h5")
    found = inspected(tmp_path, tmp_path / "points.h5")
    assert found["reads"] == "sequence of features"
    assert not found["exportable"] and "neither an image nor a clip" in found["problem"]
    assert "write your own task" in found["problem"]
    assert (found["command"], found["operators"]["LSTM"]) == (None, 1)
    capsys.readouterr()
    assert run_command(["inspect", str(tmp_path / "points.h5"), "--data", str(tmp_path)]) == 2
    assert "cannot be tried on data: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.onnx", "a.tflite", "a.keras", "a.h5"])
def test_damaged_files_are_named_in_one_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"\x08\x07TFL3 no model")
    assert run_command(["inspect", str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert name in line


def test_labels_beside_a_file_are_at_hand(tmp_path: Path) -> None:
    from edgeharfer.export.inspection.inspect import labels_beside

    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    (tmp_path / "labels.txt").write_text("no\nyes\n")
    (tmp_path / "metadata.json").write_text('{"other": 1}')
    assert labels_beside(path, find_source(path)) == {"labels.txt": ("no", "yes")}


def test_options_that_need_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["inspect", "a.h5", "--write-labels", "labels.txt"]) == 2
    assert "--write-labels requires --data" in capsys.readouterr().err
