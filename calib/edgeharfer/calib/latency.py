"""Latency of several precisions, measured in interleaved rounds so that other load affects all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from edgeharfer.runtime.inference.session import Session
from edgeharfer.runtime.types import Floats

RUNS = 200
_WARM_UP = 5
_MAX_SECONDS = 20.0

Sessions = Mapping[str, Session]
"""Role -> session."""


def median_ms(
    candidates: Mapping[str, Sessions], inputs: Mapping[str, Floats], *, on_cpu: bool = True, runs: int = RUNS
) -> dict[str, float]:
    """Measure the median time of one step of each candidate, all its graphs together, in milliseconds.

    Args:
        candidates: Name to sessions by role.
        inputs: A batch of one for each role.
        on_cpu: The sessions run on one CPU thread, so the CPU time of this thread is their latency, whatever
            else the machine does.
        runs: Number of rounds; slow models get fewer.
    """
    clock = _thread_clock() if on_cpu else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for sessions in candidates.values():
        for _ in range(_WARM_UP):
            _step(sessions, inputs, clock)
    end = time.monotonic() + _MAX_SECONDS
    for _ in range(runs):
        for name, sessions in candidates.items():
            times[name].append(_step(sessions, inputs, clock))
        if time.monotonic() > end:
            break
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def _step(sessions: Sessions, inputs: Mapping[str, Floats], clock: Callable[[], float]) -> float:
    start = clock()
    for role, session in sessions.items():
        session.run1(inputs[role])
    return clock() - start


def _thread_clock() -> Callable[[], float]:
    """CPU time of this thread if its resolution is sufficient (it is not on Windows), else wall time."""
    return time.thread_time if time.get_clock_info("thread_time").resolution < 1e-5 else time.perf_counter
