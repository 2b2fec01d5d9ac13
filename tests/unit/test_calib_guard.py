"""What a quantized model may lose, and how fast is told."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from edgeharfer.calib.guard import AccuracyFigures, AccuracyLimits, accuracy_figures, accuracy_loss
from edgeharfer.calib.latency import THREAD_TIME, StepClock, median_ms
from edgeharfer.calib.quantize import MIN_GAIN, START_GAIN

LABELS = ("a", "b", "c")


def probs(*classes: int) -> Any:
    return np.eye(3, dtype=np.float32)[list(classes)]


def test_pictures_are_counted_one_by_one() -> None:
    found = accuracy_figures(probs(0, 0, 1, 1), np.array([0, 0, 1, 0]), LABELS)
    assert found == AccuracyFigures(0.75, 0.75, {"a": (2 / 3, 3), "b": (1.0, 1)})


def test_clips_are_counted_by_the_mean_of_their_windows_and_classes_by_window() -> None:
    windows = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0, 1, 0]], np.float32)
    found = accuracy_figures(windows, np.array([0, 1]), LABELS, np.array([0, 0, 1]))
    assert found == AccuracyFigures(1.0, 2 / 3, {"a": (0.5, 1), "b": (1.0, 1)})


@pytest.mark.parametrize(
    ("top1", "recall", "support", "within"),
    [
        (0.80, 0.80, 1000, True),
        (0.85, 0.90, 1000, True),
        (0.79, 0.77, 1000, True),
        (0.789, 0.80, 1000, False),
        (0.80, 0.769, 1000, False),
        (0.80, 0.70, 10, True),
        (0.80, 0.60, 10, False),
    ],
    ids=["same", "better", "at the limits", "top-1", "one class", "one item", "two items"],
)
def test_the_limits(top1: float, recall: float, support: int, within: bool) -> None:
    before = AccuracyFigures(0.8, 0.8, {"a": (0.8, support), "b": (0.8, 1000)})
    after = AccuracyFigures(top1, top1, {"a": (recall, support), "b": (0.8, 1000)})
    verdict = accuracy_loss(before, after, AccuracyLimits(1.0, 3.0))
    assert verdict.within is within
    assert verdict.top1 == pytest.approx(100 * (0.8 - top1))
    assert verdict.per_class["a"] == pytest.approx(100 * (0.8 - recall))


def test_windows_count_as_much_as_clips() -> None:
    before, after = AccuracyFigures(0.8, 0.80, {"a": (0.8, 99)}), AccuracyFigures(0.8, 0.78, {"a": (0.8, 99)})
    assert not accuracy_loss(before, after, AccuracyLimits()).within


class Busy:
    """A session that works for a while."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds

    def run1(self, array: Any) -> Any:
        for _ in range(self.rounds):
            np.sort(array)


def test_the_slower_of_two_is_told() -> None:
    array = np.random.default_rng(0).random(2000, np.float32)
    candidates: Any = {"one": {"model": Busy(1)}, "four": {"model": Busy(4)}}
    times = median_ms(candidates, {"model": array}, runs=30)
    assert times["four"] > 2 * times["one"] > 0


class Machine:
    """A clock that its sessions move, by as much as the machine's load makes them take."""

    def __init__(self, seed: int, tick_s: float = 1e-9) -> None:
        self.now_s, self.tick_s = 0.0, tick_s
        self.load = np.random.default_rng(seed)
        self.clock = StepClock("injected", lambda: self.now_s // tick_s * tick_s, tick_s)

    def candidate(self, step_ms: float) -> Any:
        return {"model": TimedSession(self, step_ms)}

    def ratio(self, first_ms: float, other_ms: float) -> float:
        """How many times as fast the other candidate is measured."""
        candidates = {"first": self.candidate(first_ms), "other": self.candidate(other_ms)}
        times = median_ms(candidates, {"model": np.zeros(1, np.float32)}, clock=self.clock)
        return times["first"] / times["other"]


class TimedSession:
    def __init__(self, machine: Machine, step_ms: float) -> None:
        self.machine, self.step_ms = machine, step_ms

    def run1(self, array: Any) -> None:
        phase = 1.0 + 0.5 * np.sin(self.machine.now_s * 50)  # caches shared with work that comes and goes
        noise = float(np.exp(self.machine.load.normal(0.0, 0.05)))
        self.machine.now_s += self.step_ms / 1e3 * phase * noise


@pytest.mark.parametrize("seed", range(8))
def test_whether_int8_is_faster_does_not_depend_on_the_load(seed: int) -> None:
    assert Machine(seed).ratio(1.0, 1 / 1.10) > MIN_GAIN
    assert Machine(seed).ratio(1.0, 1.0) < START_GAIN
    assert Machine(seed).ratio(1.0, 1.0) > 1 / START_GAIN


def test_a_clock_of_coarse_ticks_is_read_after_many_steps() -> None:
    assert Machine(0, tick_s=1 / 64).ratio(1.0, 0.5) == pytest.approx(2.0, rel=0.1)


def test_decisions_count_the_processor_time_of_the_thread_alone() -> None:
    """Another thread's work and waiting are no time of the candidate."""
    start_s, end_s = THREAD_TIME.now(), time.monotonic() + 0.05
    while time.monotonic() < end_s:
        time.sleep(0.01)
    assert THREAD_TIME.now() - start_s < 0.04
