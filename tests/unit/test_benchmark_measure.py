"""Turns, rounds and medians, on a clock that the candidates move themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from edgeharfer.benchmark.measure import Streams, Timing, measure
from edgeharfer.runtime.clock import ManualClock


class Bench:
    """Candidates that take a known time and write down when they ran."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.order: list[str] = []

    def candidate(self, name: str, *durations_ms: float) -> Callable[[], object]:
        """Takes the durations one after the other, then the last one for good."""
        left = list(durations_ms)

        def run() -> None:
            self.order.append(name)
            self.clock.sleep((left.pop(0) if len(left) > 1 else left[0]) / 1e3)

        return run

    def turns(self) -> list[str]:
        """Who ran, neighbours of one name taken together."""
        return [name for i, name in enumerate(self.order) if i == 0 or self.order[i - 1] != name]


def test_each_candidate_is_timed_as_often_as_asked_and_apart_from_the_others() -> None:
    bench = Bench()
    one, other = bench.candidate("one", 2.0), bench.candidate("other", 30.0)
    timings = measure([one, other], 25, clock=bench.clock)
    assert [len(timing.samples_ms) for timing in timings] == [25, 25]
    assert [timing.median_ms for timing in timings] == pytest.approx([2.0, 30.0])


def test_candidates_take_turns_and_none_always_follows_the_same_one() -> None:
    bench = Bench()
    measure([bench.candidate(name, 1.0) for name in "abc"], 40, warm_up=0, turn=10, clock=bench.clock)
    assert "".join(bench.turns()) == "abcbcacababc"
    assert bench.order.count("a") == 40 + 4


def test_warm_up_and_the_first_run_of_each_turn_do_not_count() -> None:
    bench = Bench()
    slow_start = bench.candidate("cold", 500.0, 500.0, 90.0, 1.0)
    (timing,) = measure([slow_start], 3, warm_up=2, turn=5, clock=bench.clock)
    assert timing.samples_ms.tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_noise_that_comes_for_a_while_hits_all_alike() -> None:
    bench = Bench()

    def steady() -> None:
        # The machine is half as fast in its second second.
        bench.clock.sleep(0.02 if 1.0 <= bench.clock.now_s < 2.0 else 0.01)

    one, other = measure([steady, steady], 100, clock=bench.clock)
    assert one.samples_ms.mean() / other.samples_ms.mean() == pytest.approx(1.0, abs=0.2)


def test_fewer_runs_than_a_turn_and_progress() -> None:
    bench, told = Bench(), list[tuple[int, int]]()
    timings = measure(
        [bench.candidate("a", 1.0)], 13, clock=bench.clock, progress=lambda *done: told.append(done)
    )
    assert len(timings[0].samples_ms) == 13
    assert told == [(1, 2), (2, 2)]


def test_percentiles() -> None:
    timing = Timing(np.arange(1.0, 102.0), np.arange(2.0, 103.0))
    assert (timing.median_ms, timing.p95_ms, timing.cpu_ms) == (51.0, 96.0, 52.0)


def test_processor_time_is_taken_beside() -> None:
    bench, ticks = Bench(), iter(range(1000))
    (timing,) = measure(
        [bench.candidate("a", 5.0)], 4, clock=bench.clock, cpu_clock=lambda: next(ticks) / 1e3
    )
    assert timing.samples_ms.tolist() == pytest.approx([5.0] * 4)
    assert timing.cpu_samples_ms.tolist() == pytest.approx([1.0] * 4)


def test_a_duration_counts_the_timed_runs_of_each_candidate() -> None:
    bench, told = Bench(), list[tuple[int, int]]()
    quick, slow = bench.candidate("quick", 15.625), bench.candidate("slow", 125.0)
    timings = measure(
        [quick, slow], 1, duration_s=2.5, clock=bench.clock, progress=lambda *done: told.append(done)
    )
    assert [len(timing.samples_ms) for timing in timings] == [160, 20]
    assert told[-1] == (2, 2)


def test_streams_run_together_and_are_counted_by_the_second() -> None:
    meet = threading.Barrier(3, timeout=30)
    warm = iter([True, True, False])

    def stream() -> None:
        meet.wait()

    class Warm(Streams):
        def __call__(self) -> None:
            """Each stream waits for the others, so they cannot be warmed up in turn."""
            assert next(warm)

    ticks = iter(range(1000))
    (timing,) = measure([Warm([stream] * 3)], 5, warm_up=1, turn=5, cpu_clock=lambda: next(ticks) / 1e3)
    assert len(timing.samples_ms) == 15
    assert timing.cpu_ms == pytest.approx(1 / 15)
    assert timing.elapsed_s is not None and timing.per_second == pytest.approx(15 / timing.elapsed_s)
    assert timing.percentile_ms(99) >= timing.p95_ms >= timing.median_ms
