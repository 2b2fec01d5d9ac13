"""Interleaved timing: every candidate runs in each round, so that noise affects all of them equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.dataset import Progress
from edgeharfer.runtime.clock import Clock, SystemClock

WARM_UP_RUNS = 5
"""Untimed runs of each candidate before the first round, for memory planning and function tracing."""
RUNS_PER_TURN = 10
"""Timed runs of one turn, after one untimed run that refills the caches after the previous candidate."""

Run = Callable[[], object]
CpuClock = Callable[[], float]


@dataclass(frozen=True, eq=False)
class Timing:
    """Durations of all timed runs of one candidate.

    Attributes:
        samples_ms: Wall time of each run in milliseconds, (n,).
        cpu_samples_ms: Processor time of all threads of each run in milliseconds, (n,), which depends less
            on the machine's load.
    """

    samples_ms: NDArray[np.float64]
    cpu_samples_ms: NDArray[np.float64]

    @property
    def median_ms(self) -> float:
        """Median wall time."""
        return float(np.median(self.samples_ms))

    @property
    def p95_ms(self) -> float:
        """95th percentile of the wall time."""
        return float(np.percentile(self.samples_ms, 95))

    @property
    def cpu_ms(self) -> float:
        """Median processor time."""
        return float(np.median(self.cpu_samples_ms))


def measure(
    candidates: Sequence[Run],
    runs: int,
    *,
    warm_up: int = WARM_UP_RUNS,
    turn: int = RUNS_PER_TURN,
    clock: Clock | None = None,
    cpu_clock: CpuClock = time.process_time,
    progress: Progress = lambda done, total: None,
) -> list[Timing]:
    """Time each candidate.

    The order rotates from round to round, so that the first candidate changes.

    Args:
        candidates: Functions to time.
        runs: Timed runs of each candidate.
        warm_up: Untimed runs of each candidate before the first round.
        turn: Timed runs of a candidate per round.
        clock: Clock for wall time.
        cpu_clock: Processor time in seconds.
        progress: Called with the number of rounds done and of all rounds.

    Returns:
        The timings in the order of the candidates.
    """
    clock = clock or SystemClock()
    for run in candidates:
        for _ in range(warm_up):
            run()
    samples: list[list[tuple[float, float]]] = [[] for _ in candidates]
    rounds = -(-runs // turn)
    for number in range(rounds):
        count = min(turn, runs - number * turn)
        for step in range(len(candidates)):
            i = (number + step) % len(candidates)
            samples[i] += _turn(candidates[i], count, clock, cpu_clock)
        progress(number + 1, rounds)
    return [Timing(*np.array(runs_ms, np.float64).T) for runs_ms in samples]


def _turn(run: Run, count: int, clock: Clock, cpu_clock: CpuClock) -> list[tuple[float, float]]:
    """Wall time and processor time of each run in milliseconds."""
    run()
    times_ms = []
    for _ in range(count):
        start_cpu_s, start_s = cpu_clock(), clock.monotonic()
        run()
        end_s, end_cpu_s = clock.monotonic(), cpu_clock()
        times_ms.append(((end_s - start_s) * 1e3, (end_cpu_s - start_cpu_s) * 1e3))
    return times_ms
