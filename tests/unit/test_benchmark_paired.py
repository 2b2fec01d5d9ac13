"""Two candidates are compared round by round: a small difference is found, noise is not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pytest

from edgeharfer.benchmark.paired import MAX_ERROR, MAX_ROUNDS, MIN_ROUNDS, is_faster, sign_test
from edgeharfer.calib.latency import StepClock


class Machine:
    """A clock that jobs advance, by a time that varies with the load of the machine."""

    def __init__(self, seed: int = 1) -> None:
        self.now_s, self.runs = 0.0, 0
        self._noise = cycle(np.random.default_rng(seed).lognormal(sigma=0.1, size=4001).tolist())

    def job(self, time_s: float) -> Callable[[], None]:
        def run() -> None:
            self.runs += 1
            self.now_s += time_s * next(self._noise)

        return run

    def compare(self, time_s: float, other_s: float, resolution_s: float = 0.0) -> bool:
        clock = StepClock("injected", lambda: self.now_s, resolution_s)
        return is_faster(self.job(time_s), self.job(other_s), clock)


@pytest.mark.parametrize("seed", range(5))
def test_two_per_cent_are_found_in_ten_per_cent_of_noise(seed: int) -> None:
    assert Machine(seed).compare(0.000_98, 0.001)
    assert not Machine(seed).compare(0.001, 0.000_98)


def test_equal_candidates_are_hardly_ever_told_apart() -> None:
    found = [Machine(seed).compare(0.001, 0.001) for seed in range(10)]
    assert sum(found) <= 1


def test_clear_differences_end_after_the_first_rounds() -> None:
    machine = Machine()
    assert machine.compare(0.001, 0.002)
    assert machine.runs <= (MIN_ROUNDS + 3) * 12


def test_slow_candidates_end_by_time() -> None:
    machine = Machine()
    machine.compare(10.0, 10.0)
    assert machine.runs <= (MIN_ROUNDS + 3) * 12


def test_rounds_last_many_ticks_of_a_coarse_clock() -> None:
    """On Windows processor time has ticks of 16 ms, so runs of 1 ms would all take none."""
    machine = Machine()
    ticks = StepClock("injected", lambda: machine.now_s // 0.016 * 0.016, 0.016)
    assert is_faster(machine.job(0.001), machine.job(0.0015), ticks)


def test_the_sign_test() -> None:
    assert sign_test(0, 7) == 1.0
    assert sign_test(10, 10) == pytest.approx(2.0**-10)
    assert sign_test(9, 10) == pytest.approx(11 * 2.0**-10)
    assert sign_test(MIN_ROUNDS, MIN_ROUNDS) <= MAX_ERROR < sign_test(MIN_ROUNDS - 1, MIN_ROUNDS)
    assert sign_test(MAX_ROUNDS // 2, MAX_ROUNDS) > 0.5
