"""Two candidates are compared round by round: a small difference is found, noise is not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pytest

from edgeharfer.benchmark.paired import (
    MAX_ERROR,
    MIN_ROUNDS,
    RUNS_PER_ROUND,
    is_faster,
    measure_rounds,
    sign_test,
)
from edgeharfer.runtime.clock import ManualClock


class Machine(ManualClock):
    """A clock that jobs advance, by a time that varies with the load of the machine."""

    def __init__(self, seed: int = 1, tick_s: float = 0.0) -> None:
        super().__init__()
        self.now_s, self.tick_s = 0.0, tick_s
        self._noise = cycle(np.random.default_rng(seed).lognormal(sigma=0.1, size=4001).tolist())

    def monotonic(self) -> float:
        return self.now_s // self.tick_s * self.tick_s if self.tick_s else self.now_s

    def job(self, time_s: float) -> Callable[[], None]:
        def run() -> None:
            self.now_s += time_s * next(self._noise)

        return run

    def compare(self, time_s: float, other_s: float, runs: int = 300) -> bool:
        one, other = measure_rounds(
            [self.job(time_s), self.job(other_s)],
            runs,
            clock=self,
            cpu_clock=self.monotonic,
            resolution_s=self.tick_s,
        )
        assert np.median(one.cpu_samples_ms) == pytest.approx(time_s * 1e3, rel=0.2), "of one run"
        return is_faster(one.cpu_samples_ms, other.cpu_samples_ms)


@pytest.mark.parametrize("seed", range(5))
def test_two_per_cent_are_found_in_ten_per_cent_of_noise(seed: int) -> None:
    assert Machine(seed).compare(0.000_98, 0.001, runs=2000)
    assert not Machine(seed).compare(0.001, 0.000_98, runs=2000)


@pytest.mark.parametrize("seed", range(5))
def test_six_per_cent_are_found_with_the_default_number_of_runs(seed: int) -> None:
    assert Machine(seed).compare(0.000_94, 0.001)


def test_equal_candidates_are_hardly_ever_told_apart() -> None:
    found = [Machine(seed).compare(0.001, 0.001) for seed in range(10)]
    assert sum(found) <= 1


def test_few_runs_are_enough_for_a_clear_difference() -> None:
    assert Machine().compare(0.001, 0.002, runs=1)


def test_all_candidates_are_measured_once_with_progress() -> None:
    machine, rounds = Machine(), []
    timings = measure_rounds(
        [machine.job(0.001)] * 3,
        12 * RUNS_PER_ROUND,
        clock=machine,
        cpu_clock=machine.monotonic,
        progress=lambda done, total: rounds.append((done, total)),
    )
    assert [timing.samples_ms.shape for timing in timings] == [(12,)] * 3
    assert rounds == [(number, 12) for number in range(1, 13)]


def test_rounds_last_many_ticks_of_a_coarse_clock() -> None:
    """On Windows processor time has ticks of 16 ms, so runs of 1 ms would all take none."""
    assert Machine(tick_s=0.016).compare(0.001, 0.0015, runs=1)


def test_the_sign_test() -> None:
    assert sign_test(0, 7) == 1.0
    assert sign_test(10, 10) == pytest.approx(2.0**-10)
    assert sign_test(9, 10) == pytest.approx(11 * 2.0**-10)
    assert sign_test(MIN_ROUNDS, MIN_ROUNDS) <= MAX_ERROR < sign_test(MIN_ROUNDS - 1, MIN_ROUNDS)
    assert sign_test(100, 200) > 0.5
