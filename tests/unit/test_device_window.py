"""Features that stay on the device give what they give on the host. The CPU is the device here."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import tiny_models
from edgeharfer.runtime.device_window import DeviceWindow, on_host, stack_graph
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.binding import BoundGraph, Device
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.session import Session, probe_providers
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.recording.recorder import Recorder
from edgeharfer.runtime.tasks.action import ActionModel, ActionTask
from edgeharfer.runtime.types import Action, Floats, Frame
from scripted_gpu import CUDA, use_gpu_build

FRAMES, FPS = 60, 30.0


def bound(session: Session) -> Session:
    """The same graph with the CPU as its device."""
    import onnxruntime

    return Session(session._session, session.name, BoundGraph(session._session, Device(onnxruntime, "cpu")))


def stack(frames: int) -> Session:
    import onnxruntime

    graph = onnxruntime.InferenceSession(stack_graph(frames), providers=["CPUExecutionProvider"])
    return Session(graph, "window", BoundGraph(graph, Device(onnxruntime, "cpu")))


def on_device(model: ActionModel) -> ActionModel:
    model.encoder, model.head = bound(model.encoder), bound(model.head)
    model.__dict__["_device_window"] = DeviceWindow(model.window.frames, stack(model.window.frames))
    return model


@pytest.fixture
def model(tmp_path: Path) -> ActionModel:
    return ActionModel(tiny_models.action_package(tmp_path / "package", frames=4, seconds=0.4))


@pytest.fixture(scope="module")
def film() -> list[Frame]:
    """Two seconds of pictures of which none is like another, with a gap that empties the ring."""
    pictures = np.random.default_rng(5).integers(0, 256, (FRAMES, 20, 24, 3), np.uint8)
    return [Frame(n, n / FPS + (n > 30) * 0.7, 0.0, picture) for n, picture in enumerate(pictures)]


def watched(model: ActionModel, film: list[Frame], skip: int = 1) -> list[Action]:
    task = tiny_models.action_task(model)
    steps = [task.step(frame, ()) for frame in film[::skip]]
    return [step.readings for step in steps if isinstance(step.readings, Action)]


@pytest.mark.parametrize("skip", [1, 5], ids=["quick", "slow"])
def test_the_device_gives_what_the_host_gives(model: ActionModel, film: list[Frame], skip: int) -> None:
    """A slow source fills several points of the window with one frame."""
    wanted = watched(model, film, skip)
    assert any(action.ready for action in wanted)
    given = watched(on_device(model), film, skip)
    assert given == wanted


def test_the_package_that_ships_gives_the_same_on_the_device() -> None:
    model = ActionModel(load_package("action-ucf20"))
    pictures = np.random.default_rng(1).integers(0, 256, (3, 90, 120, 3), np.uint8)
    order = [0, 1, 2, 2] * 4
    wanted = model.classify(np.stack([model.encode(pictures[n]) for n in order])[None])
    kept = on_device(model)
    kept.warm_up()
    features = [kept.features(picture) for picture in pictures]
    np.testing.assert_array_equal(kept.read([features[n] for n in order]), wanted)


def test_what_is_kept_stays(model: ActionModel, film: list[Frame]) -> None:
    wanted = [model.encode(frame.bgr) for frame in film[:9]]
    device = on_device(model)
    kept = [device.features(frame.bgr) for frame in film[:9]]
    gc.collect()
    for one, other in zip(kept, wanted, strict=True):
        assert not isinstance(one, np.ndarray)
        np.testing.assert_array_equal(on_host(one), other)


def test_features_of_both_places_make_a_window(model: ActionModel, film: list[Frame]) -> None:
    """As after a recording began, or another provider took over."""
    host: list[Any] = [model.encode(frame.bgr) for frame in film[:4]]
    wanted = model.classify(np.stack(host)[None])
    device = on_device(model)
    mixed = [*host[:2], *(device.features(frame.bgr) for frame in film[2:4])]
    np.testing.assert_array_equal(model.read(mixed), wanted)


def test_a_recording_has_its_features_on_the_host(
    model: ActionModel, film: list[Frame], tmp_path: Path
) -> None:
    wanted = model.encode(film[0].bgr)
    pipeline = Pipeline(action=None, emotion=None)
    models = {ActionTask.name: on_device(model)}
    recorder = Recorder(tmp_path / "film.rec", pipeline._perception.detector, models)
    features = recorder.encode(ActionTask.name, film[0])
    recorder.close()
    np.testing.assert_array_equal(features, wanted)


def test_without_a_device_all_stays_on_the_host(model: ActionModel, film: list[Frame]) -> None:
    model.encoder = bound(model.encoder)
    assert isinstance(model.features(film[0].bgr), np.ndarray), "the head could not read it"


def test_a_window_that_does_not_fit_is_told_in_one_line(model: ActionModel) -> None:
    kept = on_device(model)
    with pytest.raises(ModelError, match="cannot run: "):
        kept.head.keep({"window": np.zeros((1, 4, 3), np.float32)})


@pytest.mark.parametrize("frames", [1, 2, 16, 200])
def test_the_graph_that_stacks_is_a_sound_model(frames: int) -> None:
    onnx.checker.check_model(onnx.load_from_string(stack_graph(frames)), full_check=True)
    rows = np.random.default_rng(0).random((frames, 5), np.float32)
    feeds = {f"frame{n}": row[None] for n, row in enumerate(rows)}
    np.testing.assert_array_equal(stack(frames).run(feeds)["window"], rows[None])


def test_on_cuda_features_stay_by_themselves(
    film: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tiny_models.action_package(tmp_path / "package", frames=4, seconds=0.4)
    wanted = watched(ActionModel(package), film)
    build = use_gpu_build(monkeypatch, tmp_path, CUDA)
    model = ActionModel(package, provider="cuda")
    model.warm_up()
    assert not isinstance(model.features(film[0].bgr), np.ndarray)
    assert watched(model, film) == wanted
    assert set(build.placed) == {"cuda"}


@pytest.mark.gpu
def test_a_gpu_keeps_the_features_and_gives_the_same() -> None:
    if (reason := probe_providers()["cuda"]) is not None:
        pytest.skip(reason)
    model = ActionModel(load_package("action-ucf20"), provider="cuda")
    pictures = np.random.default_rng(1).integers(0, 256, (16, 90, 120, 3), np.uint8)
    host: list[Floats] = [model.encode(picture) for picture in pictures]
    kept = [model.features(picture) for picture in pictures]
    assert not any(isinstance(one, np.ndarray) for one in kept)
    np.testing.assert_allclose(model.read(kept), model.classify(np.stack(host)[None]), atol=1e-5)
