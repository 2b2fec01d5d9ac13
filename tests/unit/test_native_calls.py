"""Calls into ONNX Runtime that another thread ends: plain runs, runs through buffers, and later ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import onnxruntime
import pytest

import tiny_models
from edgeharfer.runtime import capture as capture_module
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.native_calls import NATIVE_CALLS, NativeCalls
from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.source.base import Source
from edgeharfer.runtime.types import Frame

PICTURE = np.ones((1, 16, 16, 1), np.float32)


@pytest.fixture(autouse=True)
def begin_again() -> Iterator[None]:
    yield
    NATIVE_CALLS.reset()


def graph(model: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def plain() -> Session:
    return Session(graph(tiny_models.endless()), "endless")


def bound() -> Session:
    return Session(graph(tiny_models.endless()), "endless", "cpu")


@contextmanager
def stopped_soon() -> Iterator[None]:
    timer = threading.Timer(0.2, NATIVE_CALLS.stop)
    timer.start()
    yield
    timer.join()


@pytest.mark.parametrize("make", [plain, bound])
def test_a_run_without_end_is_ended(make: Callable[[], Session]) -> None:
    session = make()
    with stopped_soon(), pytest.raises(KeyboardInterrupt):
        session.run1(PICTURE)
    start_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        session.run1(PICTURE)
    assert time.monotonic() - start_s < 1, "nor does another one begin"


def test_sessions_go_on_after_a_reset() -> None:
    session = Session(graph(tiny_models.classifier()), "sound")
    NATIVE_CALLS.stop()
    with pytest.raises(KeyboardInterrupt):
        session.run1(PICTURE)
    NATIVE_CALLS.reset()
    assert session.run1(PICTURE).shape == (1, 7)


def test_a_run_that_fails_by_itself_is_the_models_error() -> None:
    session = Session(graph(tiny_models.classifier()), "sound")
    with pytest.raises(ModelError, match="sound: cannot run"):
        session.run1(np.ones((1, 3), np.float32))


class _Frames(Source):
    """Gives frames without end."""

    name = "frames"

    def __init__(self) -> None:
        self.closed = threading.Event()

    def read(self) -> Frame | None:
        return Frame(0, 0.0, 0.0, np.zeros((2, 2, 3), np.uint8))

    def close(self) -> None:
        self.closed.set()


def test_closing_a_capture_ends_a_run_without_end_in_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "_STOP_TIMEOUT_S", 0.1)
    session, source, begun = plain(), _Frames(), threading.Event()

    def precompute(frame: Frame, previous_s: float) -> None:
        begun.set()
        with suppress(ModelError, KeyboardInterrupt):
            session.run1(PICTURE)

    capture = Capture(source, pace="fast", precompute=precompute)
    try:
        capture.start()
        assert begun.wait(20)
        for _ in range(50):  # the first time the run may not have begun
            capture.close()
            if source.closed.wait(0.1):
                break
        assert source.closed.is_set()
    finally:
        NATIVE_CALLS.stop()  # also ends a run that `close` did not end


def test_only_a_call_that_was_asked_to_return_is_stuck() -> None:
    calls = NativeCalls()
    with calls.call("endless", lambda: None):
        assert calls.stuck(0.0) is None
        calls.stop()
        assert calls.stuck(60.0) is None
        stuck = calls.stuck(0.0)
        assert stuck is not None and stuck.name == "endless"
    assert calls.stuck(0.0) is None
