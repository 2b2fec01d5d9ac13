"""ONNX files become packages that verify, run and score, by the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foreign_models
import tiny_patterns
from edgeharfer.cli import run_command
from edgeharfer.export import ModelOptions, export_model, foreign
from edgeharfer.runtime.child import run_child
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.manifest import ROLLING
from edgeharfer.runtime.inference.package import load_package, verify_package
from edgeharfer.runtime.inference.preprocess import preprocess_images
from edgeharfer.runtime.tasks.pictures import PictureModel

LABELS = ("a", "b", "c")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the child's entry point without a new interpreter."""

    def run_here(module: str, *arguments: str, timeout_s: float) -> tuple[int, str]:
        return foreign.main(arguments), ""

    monkeypatch.setattr(foreign, "run_child", run_here)


def receipt_of(folder: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((folder / "receipt.json").read_text())
    return data


def test_a_package_from_an_onnx_file_verifies_and_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = foreign_models.save(foreign_models.cnn(1), tmp_path / "m.onnx")
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    out = tmp_path / "out"
    options = ("--labels", str(labels), "--normalize", "imagenet", "--precision", "fp32,fp16")
    assert run_command(["export", str(file), "--out", str(out), *options]) == 0
    assert run_command(["models", "verify", str(out)]) == 0
    run = ("--source", "demo", "--duration", "0.5", "--view", "none", "--events", str(tmp_path / "events"))
    assert run_command(["run", *run, "--emotion", str(out)]) == 0
    manifest = load_package(out).manifest
    assert (manifest.task, manifest.output, manifest.input.layout) == ("emotion", "logits", "nchw")
    receipt = receipt_of(out)
    assert receipt["parity"]["original_vs_onnx"] <= 1e-5
    assert "demo" in receipt["parity"]["inputs"]
    assert receipt["source"]["file"] == "m.onnx"
    capsys.readouterr()


def test_several_faces_with_a_fixed_batch(tmp_path: Path) -> None:
    file = foreign_models.save(foreign_models.token(), tmp_path / "m.onnx")
    package = export_model(file, tmp_path / "out", labels=LABELS, normalize="unit")
    assert receipt_of(package.path)["import"]["batch"].startswith("fixed at 1")
    model = PictureModel(verify_package(package.path))
    pictures = [np.full((16, 16, 3), 40 * n, np.uint8) for n in range(3)]
    together = model.classify(pictures)
    assert model.batches == (1,)
    np.testing.assert_allclose(
        together, np.concatenate([model.classify([one]) for one in pictures]), atol=1e-6
    )


def test_a_clip_model_gets_a_rolling_head(tmp_path: Path) -> None:
    file = foreign_models.save(foreign_models.cnn_lstm(), tmp_path / "m.onnx")
    package = export_model(
        file, tmp_path / "out", labels=LABELS, normalize="unit", precisions=("fp32", "fp16")
    )
    manifest = package.manifest
    assert set(manifest.files["fp32"]) == {"encoder", "head", ROLLING}
    assert manifest.window is not None and manifest.window.frames == foreign_models.FRAMES
    parity = receipt_of(package.path)["parity"]
    assert max(parity["whole_vs_streaming"], parity["fp32_rolling"]) <= 1e-5


def test_a_picture_classifier_as_an_action_package(tmp_path: Path) -> None:
    file = foreign_models.save(foreign_models.cnn(1, opset=19), tmp_path / "m.onnx")
    options = ModelOptions(mean=(0.5,), std=(0.5,), channels="bgr")
    package = export_model(file, tmp_path / "out", labels=LABELS, task="action", options=options)
    manifest = verify_package(package.path).manifest
    assert manifest.window is not None and manifest.window.frames == 1
    assert manifest.opset == 19
    assert (manifest.input.color, manifest.input.mean) == ("bgr", (0.5, 0.5, 0.5))


def test_a_graph_that_scales_is_not_scaled_again(tmp_path: Path) -> None:
    file = foreign_models.save(foreign_models.cntk(), tmp_path / "m.onnx")
    labels = [f"l{n}" for n in range(8)]
    package = export_model(file, tmp_path / "out", labels=labels)
    assert package.manifest.input.normalize == "none"
    with pytest.raises(ConfigError, match="already scales raw pixels"):
        export_model(file, tmp_path / "again", labels=labels, normalize="unit")


def test_int8_has_the_same_guard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny_patterns.write_pictures(tmp_path / "data", {"train": 10, "val": 10})
    package = tiny_patterns.picture_package(tmp_path / "package")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(package.manifest.labels))
    command = [
        *(
            "export",
            str(package.path / "model.onnx"),
            "--labels",
            str(labels),
            "--out",
            str(tmp_path / "out"),
        ),
        *("--normalize", package.manifest.input.normalize, "--precision", "fp32,int8", "--keep-slower"),
        *("--calibration", str(data), "--eval-data", str(data)),
    ]
    assert run_command(command) == 0
    assert "top-1" in capsys.readouterr().out
    made = load_package(tmp_path / "out")
    assert set(made.manifest.files) == {"fp32", "int8"}
    assert receipt_of(made.path)["int8"]["guard"]["top1_points"] >= -1
    assert "of the calibration set" in receipt_of(made.path)["parity"]["inputs"]


def test_a_crash_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for code, message in (
        (-11, r"damaged: it crashes the library that reads it \(SIGSEGV\)"),
        (1, "exit code 1"),
    ):
        monkeypatch.setattr(foreign, "run_child", lambda *one, timeout_s, code=code: (code, ""))
        with pytest.raises(ModelError, match=message):
            foreign.ForeignFile(tmp_path / "m.onnx", "onnx").convert()


def test_errors_of_the_child_process_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "run_child", run_child)
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"m\.onnx: damaged, or not an ONNX model$"):
        foreign.ForeignFile(path, "onnx").convert()


def test_a_defect_in_the_child_process_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "run_child", lambda *arguments, **options: (1, "KeyError: 'x'"))
    with pytest.raises(ModelError, match=r"m\.onnx: cannot be converted: KeyError: 'x'$"):
        foreign.ForeignFile(tmp_path / "m.onnx", "onnx").convert()


def test_pictures_reach_the_graph_channels_first(tmp_path: Path) -> None:
    file = foreign_models.save(foreign_models.cnn(), tmp_path / "m.onnx")
    package = export_model(file, tmp_path / "out", labels=LABELS, normalize="imagenet")
    picture = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    batch = preprocess_images([picture], package.manifest.input)
    assert batch.shape == (1, 3, 16, 16)
    assert batch.flags.c_contiguous
    nhwc = preprocess_images([picture], replace(package.manifest.input, layout="nhwc"))
    np.testing.assert_array_equal(batch, nhwc.transpose(0, 3, 1, 2))
