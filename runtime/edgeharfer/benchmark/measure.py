"""Interleaved timing: every candidate runs in each round, so that noise affects all of them equally."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.clock import Clock, SystemClock

WARM_UP_RUNS = 5
"""Untimed runs of each candidate before the first round, for memory planning and function tracing."""
RUNS_PER_TURN = 10
"""Timed runs of one turn, after one untimed run that refills the caches after the previous candidate."""

_COARSE_CLOCK_S = 1e-5

Run = Callable[[], object]
CpuClock = Callable[[], float]
Progress = Callable[[int, int], object]
"""Called with the amount of work done and the total."""


@dataclass(frozen=True)
class Streams:
    """The same candidate in several sessions that run at the same time, each in a thread of its own.

    Attributes:
        runs: One function for each stream.
    """

    runs: Sequence[Run]

    def __call__(self) -> None:
        """Run each stream once, one after the other."""
        for run in self.runs:
            run()


@dataclass(frozen=True, eq=False)
class Timing:
    """Durations of all timed runs of one candidate.

    Attributes:
        samples_ms: Wall time of each run in milliseconds, (n,).
        cpu_samples_ms: Processor time of all threads of each run in milliseconds, (n,), which depends less
            on the machine's load; of concurrent streams, the mean of a turn for each of its runs.
        elapsed_s: Duration of all turns of concurrent streams in seconds; None for a single one.
    """

    samples_ms: NDArray[np.float64]
    cpu_samples_ms: NDArray[np.float64]
    elapsed_s: float | None = None

    @property
    def median_ms(self) -> float:
        """Median wall time."""
        return float(np.median(self.samples_ms))

    def percentile_ms(self, share: float) -> float:
        """A percentile of the wall time, such as 95."""
        return float(np.percentile(self.samples_ms, share))

    @property
    def p95_ms(self) -> float:
        """95th percentile of the wall time."""
        return self.percentile_ms(95)

    @property
    def cpu_ms(self) -> float:
        """Median processor time; the mean where the clock has coarse ticks (16 ms on Windows)."""
        coarse = time.get_clock_info("process_time").resolution > _COARSE_CLOCK_S
        return float((np.mean if coarse else np.median)(self.cpu_samples_ms))

    @property
    def per_second(self) -> float | None:
        """Runs per second; None if a run takes no measurable time."""
        if self.elapsed_s is not None:
            return len(self.samples_ms) / self.elapsed_s if self.elapsed_s > 0 else None
        return 1e3 / self.median_ms if self.median_ms > 0 else None


def measure(
    candidates: Sequence[Run],
    runs: int,
    *,
    duration_s: float | None = None,
    warm_up: int = WARM_UP_RUNS,
    turn: int = RUNS_PER_TURN,
    clock: Clock | None = None,
    cpu_clock: CpuClock = time.process_time,
    progress: Progress = lambda done, total: None,
) -> list[Timing]:
    """Time each candidate.

    The order rotates from round to round, so that the first candidate changes.

    Args:
        candidates: Functions to time, or `Streams`.
        runs: Timed runs of each candidate, and of each of its streams.
        duration_s: Continue until the timed runs of each candidate take this long, instead of counting runs.
        warm_up: Untimed runs of each candidate before the first round.
        turn: Timed runs of a candidate per round.
        clock: Clock for wall time.
        cpu_clock: Processor time in seconds.
        progress: Called with the number of rounds done and of all rounds, or of seconds.

    Returns:
        The timings in the order of the candidates.
    """
    clock = clock or SystemClock()
    for run in candidates:
        for _ in range(warm_up):
            run()
    turns: list[list[_Turn]] = [[] for _ in candidates]
    number = 0
    while candidates and (left := _left(turns, number, runs, turn, duration_s)):
        for step in range(len(candidates)):
            i = (number + step) % len(candidates)
            if left[i]:
                turns[i].append(_turn(candidates[i], left[i], clock, cpu_clock))
        number += 1
        progress(*_progress(turns, number, runs, turn, duration_s))
    return [_timing(done, isinstance(one, Streams)) for one, done in zip(candidates, turns, strict=True)]


@dataclass(frozen=True)
class _Turn:
    """Wall and processor time of each run in milliseconds, and the duration of the turn."""

    times_ms: list[tuple[float, float]]
    elapsed_s: float


def _left(
    turns: Sequence[Sequence[_Turn]], number: int, runs: int, turn: int, duration_s: float | None
) -> list[int]:
    """Timed runs of each candidate in the next round; empty after the last round."""
    if duration_s is None:
        return [min(turn, runs - number * turn)] * len(turns) if number * turn < runs else []
    counts = [turn if _elapsed_s(done) < duration_s else 0 for done in turns]
    return counts if any(counts) else []


def _progress(
    turns: Sequence[Sequence[_Turn]], number: int, runs: int, turn: int, duration_s: float | None
) -> tuple[int, int]:
    if duration_s is None:
        return number, -(-runs // turn)
    total = max(1, round(duration_s))
    return min(total, int(min(map(_elapsed_s, turns)))), total


def _elapsed_s(turns: Sequence[_Turn]) -> float:
    return sum(turn.elapsed_s for turn in turns)


def _timing(turns: Sequence[_Turn], streams: bool) -> Timing:
    samples = [times for turn in turns for times in turn.times_ms]
    wall, cpu = np.array(samples, np.float64).T
    return Timing(wall, cpu, _elapsed_s(turns) if streams else None)


def _turn(run: Run, count: int, clock: Clock, cpu_clock: CpuClock) -> _Turn:
    """Time some runs after an untimed one."""
    run()
    if isinstance(run, Streams):
        return _concurrent_turn(run, count, clock, cpu_clock)
    times_ms = []
    start_of_turn_s = clock.monotonic()
    for _ in range(count):
        start_cpu_s, start_s = cpu_clock(), clock.monotonic()
        run()
        end_s, end_cpu_s = clock.monotonic(), cpu_clock()
        times_ms.append(((end_s - start_s) * 1e3, (end_cpu_s - start_cpu_s) * 1e3))
    return _Turn(times_ms, clock.monotonic() - start_of_turn_s)


def _concurrent_turn(streams: Streams, count: int, clock: Clock, cpu_clock: CpuClock) -> _Turn:
    """Time the runs of all streams at the same time."""

    def one_stream(run: Run) -> list[float]:
        times_ms = []
        for _ in range(count):
            start_s = clock.monotonic()
            run()
            times_ms.append((clock.monotonic() - start_s) * 1e3)
        return times_ms

    with ThreadPoolExecutor(len(streams.runs)) as pool:
        start_cpu_s, start_s = cpu_clock(), clock.monotonic()
        samples = [one for times in pool.map(one_stream, streams.runs) for one in times]
        elapsed_s, cpu_s = clock.monotonic() - start_s, cpu_clock() - start_cpu_s
    return _Turn([(one, cpu_s * 1e3 / len(samples)) for one in samples], elapsed_s)
