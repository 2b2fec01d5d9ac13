"""Paired comparison of two candidates, decided by a sign test instead of a fixed margin."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from edgeharfer.benchmark.measure import CpuClock, Progress, Run, Timing, measure
from edgeharfer.calib.latency import StepClock, repeats_for
from edgeharfer.runtime.clock import Clock

MAX_ERROR = 1e-3
"""Largest probability of a decision if both candidates were equally fast, one-sided."""
MIN_ROUNDS = 10
"""With fewer rounds no result is less probable than MAX_ERROR."""
RUNS_PER_ROUND = 5
"""Timed runs of each candidate in a round, after one untimed run that refills the caches."""

Samples = NDArray[np.float64]


def measure_rounds(
    candidates: Sequence[Run],
    runs: int,
    *,
    clock: Clock | None = None,
    cpu_clock: CpuClock = time.process_time,
    resolution_s: float = time.get_clock_info("process_time").resolution,
    progress: Progress = lambda done, total: None,
) -> list[Timing]:
    """Time candidates so that each can be compared with each other one, round by round.

    Args:
        candidates: Functions to time.
        runs: Timed runs of each candidate, of which there are RUNS_PER_ROUND in a round; at least MIN_ROUNDS.
            Where `cpu_clock` has coarse ticks (16 ms on Windows), a run is repeated until it takes some.
        clock: Clock for wall time.
        cpu_clock: Processor time in seconds.
        resolution_s: Smallest difference of `cpu_clock` in seconds.
        progress: Called with the number of rounds done and of all rounds.

    Returns:
        The timings in the order of the candidates, with one sample for each round: the mean time of a run.
    """
    steps = StepClock("processor time", cpu_clock, resolution_s)
    counts = [
        -(-repeats_for(partial(_seconds, one, cpu_clock), steps) // RUNS_PER_ROUND) for one in candidates
    ]
    timings = measure(
        [
            one if count == 1 else partial(_repeat, one, count)
            for one, count in zip(candidates, counts, strict=True)
        ],
        max(MIN_ROUNDS, -(-runs // RUNS_PER_ROUND)) * RUNS_PER_ROUND,
        turn=RUNS_PER_ROUND,
        clock=clock,
        cpu_clock=cpu_clock,
        progress=progress,
    )
    return [
        Timing(_by_round(timing.samples_ms) / count, _by_round(timing.cpu_samples_ms) / count)
        for timing, count in zip(timings, counts, strict=True)
    ]


def is_faster(samples_ms: Samples, others_ms: Samples) -> bool:
    """Whether a candidate takes less time than another, also if by a few per cent only.

    The one with less time wins a round. The sign test (Conover, "Practical Nonparametric Statistics", 3.4)
    says how likely so many wins are if both are equally fast.

    Args:
        samples_ms: Times of the candidate, (rounds,).
        others_ms: Times of the other one in the same rounds, (rounds,).

    Returns:
        True if the candidate is faster; False if the other one is, or if no difference is shown.
    """
    wins = int(np.count_nonzero(samples_ms < others_ms))
    return sign_test(wins, len(samples_ms)) <= MAX_ERROR


@cache
def sign_test(wins: int, rounds: int) -> float:
    """Probability of at least so many wins in rounds that each end either way with the same probability."""
    return float(sum(math.comb(rounds, count) for count in range(wins, rounds + 1)) / 2**rounds)


def _by_round(samples_ms: Samples) -> Samples:
    means: Samples = samples_ms.reshape(-1, RUNS_PER_ROUND).mean(axis=1)
    return means


def _repeat(run: Run, count: int) -> None:
    for _ in range(count):
        run()


def _seconds(run: Run, cpu_clock: CpuClock, count: int) -> float:
    start_s = cpu_clock()
    _repeat(run, count)
    return cpu_clock() - start_s
