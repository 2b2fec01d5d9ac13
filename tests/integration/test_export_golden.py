"""An exported package brings its golden answers, and a kiosk takes it by them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("keras", reason="needs the export extra")
pytest.importorskip("tf2onnx", reason="needs the export extra")
import keras

from edgeharfer.export import export_model
from edgeharfer.kiosk.update import install_package
from edgeharfer.runtime.clock import ManualClock
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.golden import FRAMES, GOLDEN

LABELS = ["angry", "happy", "neutral"]


def test_a_package_is_installed_by_the_answers_that_it_was_exported_with(tmp_path: Path) -> None:
    keras.utils.set_random_seed(7)
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((48, 48, 1)), layers.Conv2D(4, 3, strides=4, activation="relu"), layers.Flatten(),
        layers.Dense(len(LABELS), activation="softmax"),
    ])  # fmt: skip
    model.save(tmp_path / "model.keras")
    package = export_model(tmp_path / "model.keras", tmp_path / "new", labels=LABELS, normalize="unit")
    golden = json.loads((package.path / GOLDEN).read_text(encoding="utf-8"))
    assert [len(row) for row in golden["probs"]] == [len(LABELS)] * len(FRAMES)
    update = install_package(package.path, tmp_path / "state", replaces="off", clock=ManualClock())
    assert (update.folder / GOLDEN).exists()
    golden["probs"][0].reverse()
    (package.path / GOLDEN).write_text(json.dumps(golden), encoding="utf-8")
    with pytest.raises(ModelError, match="outputs of the package differ"):
        install_package(package.path, tmp_path / "other", replaces="off", clock=ManualClock())
