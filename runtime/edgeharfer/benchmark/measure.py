"""Interleaved timing: every candidate has its turn in each round, so that noise hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.dataset import Progress
from edgeharfer.runtime.clock import Clock, SystemClock

WARM_UP_RUNS = 5
"""Runs of each candidate before the first round: memory is planned, functions are traced."""
RUNS_PER_TURN = 10
"""Measured runs of one turn. One unmeasured run goes before them, since the candidate before has taken
the caches; in use a model runs again and again, and so it does here."""

Run = Callable[[], object]
CpuClock = Callable[[], float]


@dataclass(frozen=True, eq=False)
class Timing:
    """Durations of all measured runs of one candidate, in milliseconds.

    cpu_samples_ms: processor time of all threads of the process, which others on the machine hardly change.
    """

    samples_ms: NDArray[np.float64]
    cpu_samples_ms: NDArray[np.float64]

    @property
    def median_ms(self) -> float:
        return float(np.median(self.samples_ms))

    @property
    def p95_ms(self) -> float:
        return float(np.percentile(self.samples_ms, 95))

    @property
    def cpu_ms(self) -> float:
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
    """Time each candidate `runs` times and return the timings in the order of the candidates.

    Each round begins with another candidate, so that none always follows the same one.
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
    return [Timing(*np.array(one, np.float64).T) for one in samples]


def _turn(run: Run, count: int, clock: Clock, cpu_clock: CpuClock) -> list[tuple[float, float]]:
    """Milliseconds that passed, and milliseconds of processor time, of each run."""
    run()
    times_ms = []
    for _ in range(count):
        start_cpu_s, start_s = cpu_clock(), clock.monotonic()
        run()
        end_s, end_cpu_s = clock.monotonic(), cpu_clock()
        times_ms.append(((end_s - start_s) * 1e3, (end_cpu_s - start_cpu_s) * 1e3))
    return times_ms
