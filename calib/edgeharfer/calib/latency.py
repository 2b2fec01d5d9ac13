"""Processor time of several graphs, measured in interleaved rounds so that other load affects all alike.

What a package contains is decided by these figures, so they must not depend on how busy the machine is: the
clock counts the processor time of the calling thread, and candidates are compared round by round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.types import Floats

RUNS = 200
MIN_ROUNDS = 7
_WARM_UP = 5
_BUDGET_S = 20.0
_TICKS = 20
"""A sample lasts at least so many ticks of the clock, which are 16 ms on Windows."""

_MAX_REPEATS = 4096

Sessions = Mapping[str, Session]
"""Role -> session."""


@dataclass(frozen=True)
class StepClock:
    """A clock for the time of a step.

    Attributes:
        name: Name for the receipt.
        now: Time in seconds.
        resolution_s: Smallest difference in seconds.
    """

    name: str
    now: Callable[[], float]
    resolution_s: float


THREAD_TIME = StepClock(
    "thread processor time", time.thread_time, time.get_clock_info("thread_time").resolution
)
WALL_TIME = StepClock("wall time", time.perf_counter, time.get_clock_info("perf_counter").resolution)


def median_ms(
    candidates: Mapping[str, Sessions],
    inputs: Mapping[str, Floats],
    *,
    clock: StepClock = THREAD_TIME,
    runs: int = RUNS,
) -> dict[str, float]:
    """Measure the time of one step of each candidate, all its graphs together, in milliseconds.

    Every candidate is compared with the first one in each round. Its time is that of the first one
    multiplied by the median of those ratios, which varies less on a busy machine than a ratio of medians.

    Args:
        candidates: Name to sessions by role, each on one CPU thread unless the clock is WALL_TIME.
        inputs: A batch of one for each role.
        clock: Clock to measure with. Only processor time is fit for decisions.
        runs: Number of rounds; slow models get fewer, by the time on the same clock.
    """
    steps = {name: _steps(sessions, inputs, clock) for name, sessions in candidates.items()}
    rounds: list[list[float]] = []
    while len(rounds) < runs and (len(rounds) < MIN_ROUNDS or np.sum(rounds) < _BUDGET_S * 1e3):
        rounds.append([step() for step in steps.values()])
    samples = np.array(rounds, np.float64).reshape(-1, len(steps))
    first = np.maximum(samples[:, :1], 1e-9)
    times = np.median(first) * np.median(samples / first, axis=0)
    return dict(zip(steps, times.tolist(), strict=True))


def _steps(sessions: Sessions, inputs: Mapping[str, Floats], clock: StepClock) -> Callable[[], float]:
    """Return a function that measures one step in milliseconds, averaged over as many as the clock needs."""

    def run(count: int) -> float:
        start_s = clock.now()
        for _ in range(count):
            for role, session in sessions.items():
                session.run1(inputs[role])
        return clock.now() - start_s

    run(_WARM_UP)
    count = repeats_for(run, clock)
    return lambda: run(count) / count * 1e3


def repeats_for(run: Callable[[int], float], clock: StepClock) -> int:
    """Return how many steps in a row last enough ticks of a clock.

    Args:
        run: Runs so many steps, and returns their time on the clock in seconds.
        clock: The clock.
    """
    count = 1
    while run(count) < _TICKS * clock.resolution_s and count < _MAX_REPEATS:
        count *= 2
    return count
