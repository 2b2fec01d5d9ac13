"""Runs through buffers: the same answers as without, tried on the CPU; on a GPU with -m gpu."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.binding import MAX_SHAPES, BoundGraph, Device
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.session import Session, make_session, probe_providers
from edgeharfer.runtime.inference.tensorrt import CUDA_GRAPHS
from edgeharfer.runtime.inference.tuning import Choice, open_graph
from edgeharfer.runtime.inference.upgrade import difference
from edgeharfer.runtime.types import Floats
from scripted_gpu import GpuBuild

SIDE = 192


def opened(model: bytes) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def on_the_cpu(model: bytes) -> Session:
    import onnxruntime

    graph = opened(model)
    return Session(graph, "tiny", BoundGraph(graph, Device(onnxruntime, "cpu")))


def images(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).random((count, 16, 16, 3), np.float32)


def test_runs_through_buffers_answer_as_plain_ones() -> None:
    bound, plain = on_the_cpu(tiny_models.encoder()), make_session(tiny_models.encoder(), "cpu", 1)
    for seed in range(4):
        for count in (1, 2):
            batch = images(count, seed)
            np.testing.assert_array_equal(bound.run1(batch), plain.run1(batch))


def test_an_answer_stays_when_the_next_one_comes() -> None:
    session = on_the_cpu(tiny_models.encoder())
    session.warm_up([(1, 16, 16, 3)])
    first = session.run1(images(1, 1))
    kept = first.copy()
    session.run1(images(1, 2))
    np.testing.assert_array_equal(first, kept)


def test_what_is_fed_stays_as_it_was() -> None:
    session = on_the_cpu(tiny_models.encoder())
    first, second = images(1, 1), images(1, 2)
    kept = first.copy()
    for batch in (first, second, second):
        session.run1(batch)
    np.testing.assert_array_equal(first, kept)


def test_rows_that_do_not_lie_together_are_taken_as_they_are() -> None:
    session = on_the_cpu(tiny_models.encoder())
    batch = images(4)[::2]
    for _ in range(2):
        np.testing.assert_array_equal(session.run1(batch), session.run1(batch.copy()))


@pytest.mark.parametrize("feed", [np.ones((1, 3, 8), np.float32), np.ones((1, 4, 8)), "no array"])
def test_feeds_that_do_not_fit_are_told_as_without_buffers(feed: Any) -> None:
    session = on_the_cpu(tiny_models.head(4, 8))
    session.warm_up([(1, 4, 8)])
    with pytest.raises(ModelError, match=r"^tiny: cannot run: "):
        session.run1(feed)


def test_buffers_are_made_once_for_each_shape_and_for_so_many_shapes(tmp_path: Any) -> None:
    build = GpuBuild(tmp_path, ())
    graph = BoundGraph(opened(tiny_models.encoder()), Device(build))
    for _ in range(3):
        for count in range(1, MAX_SHAPES + 3):
            (features,) = graph.run({"image": images(count)})
            assert features.shape == (count, 8)
    assert build.placed == ["cuda"] * 2 * MAX_SHAPES


def test_each_captured_shape_has_a_graph_of_its_own(tmp_path: Any) -> None:
    build = GpuBuild(tmp_path, ())
    session = opened(tiny_models.encoder())
    build.listen(session)
    shapes = frozenset((count, 16, 16, 3) for count in (1, 2, 4))
    assert BoundGraph(session, Device(build, "cuda", shapes)).replays_truly()
    assert build.graph_ids == ["1"] * 3 + ["2"] * 3 + ["3"] * 3


# On a GPU ---------------------------------------------------------------------------------------


@pytest.fixture
def cuda() -> None:
    if (reason := probe_providers()["cuda"]) is not None:
        pytest.skip(reason)


@pytest.mark.gpu
@pytest.mark.parametrize("captured", [False, True], ids=["buffers", "graphs"])
def test_cuda_answers_as_the_cpu(
    cuda: None, captured: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CUDA_GRAPHS, "1")
    shapes = [(1, 16, 16, 3)] if captured else []
    session = make_session(tiny_models.encoder(), "cuda", shapes=shapes)
    plain = make_session(tiny_models.encoder(), "cpu", 1)
    assert session.provider == "CUDAExecutionProvider"
    assert caplog.text == ""
    for seed in range(4):
        np.testing.assert_allclose(session.run1(images(1, seed)), plain.run1(images(1, seed)), atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", ["0", "1"], ids=["buffers", "graphs"])
@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("action-ucf20", "encoder"),
        ("action-ucf20", "head"),
        ("emotion-fer8", "model"),
        ("face-full-range", "model"),
    ],
)
def test_what_ships_answers_on_cuda_as_on_the_cpu(
    cuda: None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    role: str,
    graphs: str,
) -> None:
    """A graph that cannot be captured fails here, with the reason in the log."""
    monkeypatch.setenv(CUDA_GRAPHS, graphs)
    package = load_package(name)
    plain = open_graph(package, role, Choice("cpu", "fp32", 1))
    free = {"side": SIDE}
    shape = tuple(axis if isinstance(axis, int) else free.get(str(axis), 1) for axis in plain.input_shape)
    feeds = {plain.input_name: np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)}
    session = open_graph(package, role, Choice("cuda", "fp32", 1), shapes=[shape])
    for _ in range(3):
        assert difference(plain.run(feeds), session.run(feeds)) < 0.01
    assert caplog.text == ""
