"""Start at once, go on better: the swap, its refusal, failures, the end. CPU sessions are TensorRT here."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import tiny_models
from edgeharfer.runtime.errors import ModelError, ProviderError
from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.inference import device_record, tuning, upgrade
from edgeharfer.runtime.inference import tensorrt as gpu
from edgeharfer.runtime.inference.backend import CPU as CPU_ONLY
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.engine_build import EngineBuild
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.inference.providers import probe_providers
from edgeharfer.runtime.inference.session import Session, make_session
from edgeharfer.runtime.inference.tuning import open_graph
from edgeharfer.runtime.inference.upgrade import Upgrade, UpgradingSession, relative_difference
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.types import Face, Floats, Frame, Image
from scripted_gpu import CPU, CUDA, TENSORRT, use_gpu_build

HEAD = Graph.scan(tiny_models.head(), "head")
WINDOW = np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 4, 8)
FOR_MINUTES = "import time; time.sleep(600)"


class Bench:
    """A build that is done when it is told to be, and a better session named "Better"."""

    def __init__(self, *, gain: float = 1.0, breaks: bool = False) -> None:
        self.built = self.closed = False
        self.failure: ProviderError | None = None
        self._gain, self._breaks = gain, breaks
        self.upgrade = Upgrade(self, self.open)
        self.session = UpgradingSession(make_session(HEAD), self.upgrade, 0.01)

    def finished(self) -> bool:
        if self.failure is not None:
            raise self.failure
        return self.built

    def close(self) -> None:
        self.closed = True

    def open(self) -> Session:
        if self._breaks:
            raise ProviderError("the engine does not open")
        session = make_session(Graph.scan(scaled_head(self._gain)))
        session.provider = "Better"
        return session

    def run_until(self, done: Callable[[], bool]) -> list[Floats]:
        """What is answered meanwhile."""
        answers: list[Floats] = []

        def step() -> bool:
            if not done():
                answers.append(self.session.run1(WINDOW))
            return done()

        wait_for(step)
        return answers


def wait_for(done: Callable[[], bool]) -> None:
    due_s = time.monotonic() + 30
    while not done():
        assert time.monotonic() < due_s
        time.sleep(0.001)


def scaled_head(gain: float) -> bytes:
    """The tiny head, its answer times a number."""
    model = onnx.load_from_string(tiny_models.head())
    model.graph.node[-1].output[0] = "plain"
    model.graph.node.append(onnx.helper.make_node("Mul", ["plain", "gain"], ["probs"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(gain, np.float32), "gain"))
    return bytes(model.SerializeToString())


def plain() -> Floats:
    return make_session(HEAD).run1(WINDOW)


def test_until_the_engine_is_built_the_other_one_runs() -> None:
    bench = Bench()
    for _ in range(3):
        np.testing.assert_array_equal(bench.session.run1(WINDOW), plain())
    assert bench.session.provider == CPU
    assert (bench.session.input_shape, bench.session.output_names) == (("batch", 4, 8), ("probs",))
    bench.session.close()


def test_then_the_better_one_takes_over_between_two_runs(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(gain=1.001)
    bench.built = True
    with caplog.at_level(logging.INFO, logger=upgrade.__name__):
        meanwhile = bench.run_until(lambda: bench.session.provider == "Better")
    for answer in meanwhile:
        np.testing.assert_array_equal(answer, plain(), "the run that compares is still the first one's")
    np.testing.assert_allclose(bench.session.run1(WINDOW), plain() * 1.001, rtol=1e-6)
    assert bench.closed
    (line,) = caplog.messages
    assert line == "head: switched to Better, whose outputs differ by 0.001"


@pytest.mark.parametrize("gain", [1.02, float("nan"), 0.0])
def test_another_answer_is_refused_once(gain: float, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(gain=gain)
    bench.built = True
    bench.run_until(lambda: bench.closed)
    np.testing.assert_array_equal(bench.session.run1(WINDOW), plain())
    assert bench.session.provider == CPU
    (line,) = caplog.messages
    assert line.startswith(f"head: stays on {CPU}: outputs of Better differ by ")


def test_a_build_that_fails_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.failure = ProviderError("no room on the GPU")
    for _ in range(3):
        np.testing.assert_array_equal(bench.session.run1(WINDOW), plain())
    assert caplog.messages == [f"head: stays on {CPU}: no room on the GPU"]
    assert bench.closed


def test_an_engine_that_does_not_open_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(breaks=True)
    bench.built = True
    bench.run_until(lambda: bench.closed)
    assert caplog.messages == [f"head: stays on {CPU}: the engine does not open"]


def test_zeros_of_a_warm_up_are_nothing_to_compare_on() -> None:
    bench = Bench()
    bench.built = True
    wait_for(lambda: bench.upgrade.ready() is not None)
    bench.session.warm_up([(2, 4, 8)])
    assert bench.session.provider == CPU
    bench.session.run1(WINDOW)
    assert bench.session.provider == "Better"


def test_feeds_that_do_not_fit_are_no_reason_to_give_up() -> None:
    bench = Bench()
    with pytest.raises(ModelError, match=r"^head: cannot run: "):
        bench.session.run1(WINDOW[:, :2])
    assert not bench.closed
    bench.session.close()


def test_a_close_ends_the_builder_and_waits_for_no_engine() -> None:
    build = EngineBuild(HEAD, CPU_ONLY, command=("-c", FOR_MINUTES))
    running = make_session(HEAD)
    session = UpgradingSession(running, Upgrade(build, lambda: running), 0.01)
    session.run1(WINDOW)
    threads = threading.active_count()
    session.close()
    session.close()
    assert build.process.returncode == -9
    assert threading.active_count() == threads
    np.testing.assert_array_equal(session.run1(WINDOW), plain())


def test_a_close_waits_for_what_is_being_opened() -> None:
    bench = Bench()
    may_open, opened = threading.Event(), threading.Event()

    def slowly() -> Session:
        may_open.wait(10)
        opened.set()
        return make_session(HEAD)

    bench.built = True
    going = Upgrade(bench, slowly)
    assert going.ready() is None
    may_open.set()
    going.close()
    assert opened.is_set()


def test_while_an_engine_is_opened_the_run_may_print(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench, build = Bench(), use_gpu_build(monkeypatch, tmp_path, TENSORRT, CUDA)
    opening, printed = threading.Event(), threading.Event()
    really = build.InferenceSession

    def slowly(*given: Any, **more: Any) -> Any:
        opening.set()
        printed.wait(10)
        return really(*given, **more)

    probe_providers()
    monkeypatch.setattr(build, "InferenceSession", slowly)
    bench.built = True
    going = Upgrade(bench, lambda: make_session(HEAD, Backend("tensorrt")))
    assert going.ready() is None
    opening.wait(10)
    print("a result")
    printed.set()
    going.close()
    assert capsys.readouterr().out == "a result\n"


def test_the_difference_is_a_part_of_the_largest_value() -> None:
    wanted = {"a": np.array([0.0, -200.0], np.float32), "b": np.array([0.5], np.float32)}
    given = {"a": np.array([1.0, -200.0], np.float32), "b": np.array([0.499], np.float32)}
    assert relative_difference(wanted, given) == pytest.approx(0.005, rel=1e-4)
    zeros = {"a": np.zeros(2, np.float32)}
    assert relative_difference(zeros, zeros) == 0.0
    assert relative_difference(zeros, {"a": np.ones(2, np.float32)}) > 1e30
    assert relative_difference({"a": np.empty(0, np.float32)}, {"a": np.empty(0, np.float32)}) == 0.0


# From a package ---------------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[EngineBuild]]:
    """A machine with TensorRT, scripted, and builders that take their time."""
    started: list[EngineBuild] = []
    found = gpu.GpuEnvironment("Example GPU", "570.10", "10.13.0", "1.31.1")
    for module in (gpu, tuning):
        monkeypatch.setattr(module, "cache_root", lambda: tmp_path / "cache" / "engines")
    for module in (gpu, device_record):
        monkeypatch.setattr(module, "gpu_environment", lambda: found)
    use_gpu_build(monkeypatch, tmp_path, TENSORRT, CUDA)

    def slow(graph: Graph, backend: Backend) -> EngineBuild:
        started.append(EngineBuild(graph, backend, command=("-c", FOR_MINUTES)))
        return started[-1]

    monkeypatch.setattr(upgrade, "EngineBuild", slow)
    for kept in (tuning._loadable, tuning._record):
        kept.cache_clear()
    yield started
    for kept in (tuning._loadable, tuning._record):
        kept.cache_clear()
    for one in started:
        one.close()


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return tiny_models.action_package(tmp_path / "package")


@pytest.mark.parametrize("provider", ["tensorrt", "auto"])
def test_a_run_starts_on_cuda_while_the_engine_is_built(
    builds: list[EngineBuild], package: Package, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    session = open_graph(package, "head", Backend(provider, "fp32", 1, background_build=True))
    assert (session.provider, len(builds)) == (CUDA, 1)
    (line,) = caplog.messages
    assert line.endswith(f": runs on {CUDA} while the TensorRT engine is built (minutes)")
    session.close()


@pytest.mark.parametrize("provider", ["cuda", "cpu"])
def test_who_wants_no_tensorrt_gets_none(builds: list[EngineBuild], package: Package, provider: str) -> None:
    open_graph(package, "head", Backend(provider, "fp32", 1, background_build=True))
    assert builds == []


def test_who_wants_tensorrt_alone_waits_for_it(builds: list[EngineBuild], package: Package) -> None:
    backend = Backend("tensorrt", "fp32", 1)
    assert open_graph(package, "head", backend).provider == TENSORRT
    started = open_graph(package, "head", replace(backend, background_build=True))
    assert started.provider == TENSORRT, "from the cache"
    assert builds == []


def test_without_room_for_a_process_it_stays(
    builds: list[EngineBuild],
    package: Package,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: object) -> EngineBuild:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(upgrade, "EngineBuild", full)
    assert open_graph(package, "head", Backend("auto", "fp32", 1, background_build=True)).provider == CUDA
    assert "stays on" in caplog.text


def test_a_pipeline_starts_at_once_and_ends_all_builders(
    builds: list[EngineBuild], package: Package, tmp_path: Path
) -> None:
    emotion = tiny_models.emotion_package(tmp_path / "emotion")
    with Pipeline(action=package, emotion=emotion) as pipeline:
        assert set(pipeline.providers.values()) == {CUDA}
        assert len(builds) == 4, "faces, emotion, encoder, head"
        pipeline.warm_up()
    assert [one.process.returncode for one in builds] == [-9] * 4


class Nobody(Detector):
    """A detector that sees nobody."""

    provider = "test"

    def warm_up(self) -> None: ...

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        return []


def test_a_pipeline_goes_on_with_tensorrt_and_tells_the_same(
    builds: list[EngineBuild], package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Pipeline(action=package, emotion=None, detector=Nobody(), provider="cpu")
    monkeypatch.setattr(upgrade, "EngineBuild", lambda *given: EngineBuild(*given, command=("-c", "")))
    pictures = np.random.default_rng(0).integers(0, 256, (50, 20, 24, 3), np.uint8)
    with Pipeline(action=package, emotion=None, detector=Nobody()) as pipeline:
        pipeline.warm_up()
        ran_on = [pipeline.providers["action"]]
        due_s = time.monotonic() + 30
        while ran_on.count(TENSORRT) < 20:
            number = len(ran_on) - 1
            frame = Frame(number, number / 10, 0.0, pictures[number % 50])
            assert pipeline.process(frame).action == plain.process(frame).action
            ran_on.append(pipeline.providers["action"])
            assert time.monotonic() < due_s
    assert ran_on[0] == CUDA and ran_on == sorted(ran_on), "first the one, then the other"


def test_a_pipeline_may_wait_for_its_engines(builds: list[EngineBuild], package: Package) -> None:
    pipeline = Pipeline(action=package, emotion=None, background_build=False)
    assert set(pipeline.providers.values()) == {TENSORRT}
    assert builds == []


# On a GPU ---------------------------------------------------------------------------------------


@pytest.mark.gpu
def test_tensorrt_takes_over_from_cuda(
    package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The real thing: an engine is built in a child, opened, compared and taken."""
    if (reason := probe_providers()["tensorrt"]) is not None:
        pytest.skip(reason)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tuning._record.cache_clear()
    session = open_graph(package, "head", Backend("tensorrt", "fp32", 1, background_build=True))
    before = session.run1(WINDOW)
    due_s = time.monotonic() + 300
    while session.provider != TENSORRT:
        assert time.monotonic() < due_s
        session.run1(WINDOW)
        time.sleep(0.05)
    np.testing.assert_allclose(session.run1(WINDOW), before, atol=0.01)
    session.close()
