"""Paired comparison of two candidates, decided by a sign test instead of a fixed margin."""

from __future__ import annotations

import math
import time
from functools import cache, partial

from edgeharfer.benchmark.measure import Run
from edgeharfer.calib.latency import StepClock, repeats_for

MAX_ERROR = 1e-3
"""Largest probability of a decision if both candidates were equally fast, one-sided."""
MIN_ROUNDS, MAX_ROUNDS = 10, 200
RUNS_PER_ROUND = 5
"""Timed runs of each candidate in a round, after one untimed run that refills the caches."""
MAX_SECONDS = 20.0
"""No further rounds after this time on the clock."""

PROCESSOR_TIME = StepClock(
    "processor time", time.process_time, time.get_clock_info("process_time").resolution
)


def is_faster(run: Run, other: Run, clock: StepClock = PROCESSOR_TIME) -> bool:
    """Whether a candidate takes less time than another, also if by a few per cent only.

    Both run in each round, in alternating order, and the one with less time wins the round. The sign test
    (Conover, "Practical Nonparametric Statistics", 3.4) says how likely so many wins are if both are equally
    fast. Rounds end when that is at most MAX_ERROR, for one or the other, or when there are MAX_ROUNDS.

    Args:
        run: The candidate.
        other: What it is compared with.
        clock: Clock to compare by.

    Returns:
        True if `run` is faster; False if `other` is, or if no difference is shown.
    """
    repeats = max(
        RUNS_PER_ROUND, *(repeats_for(partial(_seconds, one, clock=clock), clock) for one in (run, other))
    )
    wins = rounds = 0
    spent_s = 0.0
    while rounds < MAX_ROUNDS and (rounds < MIN_ROUNDS or spent_s < MAX_SECONDS):
        one_s, other_s = _round(run, other, repeats, clock, swap=rounds % 2 == 1)
        rounds, wins, spent_s = rounds + 1, wins + (one_s < other_s), spent_s + one_s + other_s
        if rounds >= MIN_ROUNDS:
            if sign_test(wins, rounds) <= MAX_ERROR:
                return True
            if sign_test(rounds - wins, rounds) <= MAX_ERROR:
                return False
    return False


@cache
def sign_test(wins: int, rounds: int) -> float:
    """Probability of at least so many wins in rounds that each end either way with the same probability."""
    return float(sum(math.comb(rounds, count) for count in range(wins, rounds + 1)) / 2**rounds)


def _round(run: Run, other: Run, repeats: int, clock: StepClock, *, swap: bool) -> tuple[float, float]:
    if swap:
        other_s, one_s = _seconds(other, repeats, clock), _seconds(run, repeats, clock)
    else:
        one_s, other_s = _seconds(run, repeats, clock), _seconds(other, repeats, clock)
    return one_s, other_s


def _seconds(run: Run, repeats: int, clock: StepClock) -> float:
    """Time of some runs after an untimed one."""
    run()
    start_s = clock.now()
    for _ in range(repeats):
        run()
    return clock.now() - start_s
