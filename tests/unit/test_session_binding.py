"""Runs through buffers: the same answers as without, tried on the CPU; on a GPU with -m gpu."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_models
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.package import load_package
from edgeharfer.runtime.inference.providers import probe_providers
from edgeharfer.runtime.inference.session import MAX_BINDINGS, Session, make_session
from edgeharfer.runtime.inference.tuning import open_graph
from edgeharfer.runtime.inference.upgrade import relative_difference
from edgeharfer.runtime.types import Floats
from scripted_gpu import CUDA, use_gpu_build

SIDE = 192
ENCODER = Graph.scan(tiny_models.encoder(), "encoder")


def opened(model: bytes) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def on_the_cpu(model: bytes) -> Session:
    return Session(opened(model), "tiny", "cpu")


def images(count: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).random((count, 16, 16, 3), np.float32)


def test_runs_through_buffers_answer_as_plain_ones() -> None:
    bound, plain = on_the_cpu(tiny_models.encoder()), make_session(ENCODER)
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


def test_buffers_are_made_once_for_each_shape_and_for_so_many_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = use_gpu_build(monkeypatch, tmp_path, CUDA)
    session = make_session(ENCODER, Backend("cuda"))
    for _ in range(3):
        for count in range(1, MAX_BINDINGS + 3):
            assert session.run1(images(count)).shape == (count, 8)
    assert build.placed == ["cuda"] * 2 * MAX_BINDINGS
    assert build.bound_runs == 3 * MAX_BINDINGS


def test_feeds_that_do_not_fit_take_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = use_gpu_build(monkeypatch, tmp_path, CUDA)
    session = make_session(ENCODER, Backend("cuda"))
    for size in range(MAX_BINDINGS + 1):
        with pytest.raises(ModelError, match="cannot run: "):
            session.run1(np.ones((1, size), np.float32))
    bound = build.bound_runs
    session.run1(images(1))
    assert build.bound_runs == bound + 1


# On a GPU ---------------------------------------------------------------------------------------


@pytest.fixture
def cuda() -> None:
    if (reason := probe_providers()["cuda"]) is not None:
        pytest.skip(reason)


@pytest.mark.gpu
def test_cuda_answers_as_the_cpu(cuda: None, caplog: pytest.LogCaptureFixture) -> None:
    session, plain = make_session(ENCODER, Backend("cuda")), make_session(ENCODER)
    assert session.provider == CUDA
    assert caplog.text == ""
    for seed in range(4):
        np.testing.assert_allclose(session.run1(images(1, seed)), plain.run1(images(1, seed)), atol=1e-5)


@pytest.mark.gpu
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
    cuda: None, caplog: pytest.LogCaptureFixture, name: str, role: str
) -> None:
    package = load_package(name)
    plain, session = (open_graph(package, role, Backend(one, "fp32", 1)) for one in ("cpu", "cuda"))
    free = {"side": SIDE}
    shape = tuple(axis if isinstance(axis, int) else free.get(str(axis), 1) for axis in plain.input_shape)
    feeds = {plain.input_name: np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)}
    for _ in range(3):
        assert relative_difference(plain.run(feeds), session.run(feeds)) < 0.01
    assert caplog.text == ""
