"""The trial of a package in a child process: what runs, what fails, what never ends, what crashes."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import tiny_models
from edgeharfer.evaluate import trial
from edgeharfer.evaluate.trial import TRIAL_S, run_graphs, run_trial
from edgeharfer.runtime import MissingExtra, ModelError, load_package, shipped_packages
from edgeharfer.runtime.child import run_child
from edgeharfer.runtime.inference.session import Session, Tensor
from edgeharfer.runtime.types import Floats


def test_a_sound_package_passes(tmp_path: Path) -> None:
    run_trial(tiny_models.emotion_package(tmp_path))


def test_every_graph_of_a_package_runs(tmp_path: Path) -> None:
    run_graphs(tiny_models.action_package(tmp_path))
    for package in shipped_packages():
        if package.manifest.task == "faces":
            run_graphs(package)


def test_detectors_get_pictures_of_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime 1.20 crashes on a picture of one pixel, of which the layers leave nothing."""
    shapes: list[tuple[int, ...]] = []

    class Recorded(Session):
        def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Floats]:
            shapes.extend(array.shape for array in feeds.values())
            return super().run(feeds)

    monkeypatch.setattr("edgeharfer.runtime.inference.session.Session", Recorded)
    run_graphs(load_package("face-yunet"))
    assert shapes == [(1, 3, 320, 320)]


def test_a_graph_that_never_ends_is_refused_at_the_deadline(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path, model=tiny_models.endless())
    start_s = time.monotonic()
    with pytest.raises(ModelError, match="no output within 2 s") as refused:
        run_trial(package, deadline_s=2.0)
    assert str(tmp_path) in str(refused.value)
    assert time.monotonic() - start_s < TRIAL_S


@pytest.mark.skipif(os.name != "posix", reason="alarms of POSIX")
def test_a_trial_ends_by_itself_where_its_parent_is_gone(tmp_path: Path) -> None:
    package = tiny_models.emotion_package(tmp_path, model=tiny_models.endless())
    code, _ = run_child(trial.__name__, str(package.path), "1", timeout_s=60)
    assert code == -signal.SIGALRM


def test_a_graph_that_cannot_run_is_named(tmp_path: Path) -> None:
    """It scans well, and fails only when it runs: 28 scores cannot be put into rows of five."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["scores"]),
        helper.make_node("Reshape", ["scores", "shape"], ["probs"]),
    ]
    weights = {"w": tiny_models.class_weights(1, 7), "shape": np.array([-1, 5])}
    model = tiny_models.to_bytes(nodes, {"image": ["b", 16, 16, 1]}, {"probs": ["b", "c"]}, weights)
    package = tiny_models.emotion_package(tmp_path, model=model)
    with pytest.raises(ModelError, match=r"model\.onnx: cannot run"):
        run_trial(package)


def test_a_crash_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "run_child", lambda *_, timeout_s: (-11, ""))
    with pytest.raises(ModelError, match=r"the trial run crashed \(SIGSEGV\)"):
        run_trial(tiny_models.emotion_package(tmp_path))


def test_without_onnx_runtime_nothing_can_be_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = load_package(tiny_models.emotion_package(tmp_path).path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra):
        run_trial(package)
