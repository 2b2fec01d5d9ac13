"""Which of several precisions is fastest here: interleaved rounds, so that a busy moment hits all alike."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from edgeharfer.runtime.session import Session
from edgeharfer.runtime.types import Floats

RUNS = 200
_WARM_UP = 5
_MAX_SECONDS = 20.0

Sessions = Mapping[str, Session]
"""Role -> session."""


def median_ms(candidates: Mapping[str, Sessions], inputs: Mapping[str, Floats], runs: int = RUNS) -> dict[str, float]:
    """Median time of one step of each candidate, all its graphs together, in milliseconds.

    inputs: a batch of one for each role. Slow models get fewer rounds.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for sessions in candidates.values():
        for _ in range(_WARM_UP):
            _step(sessions, inputs)
    end = time.monotonic() + _MAX_SECONDS
    for _ in range(runs):
        for name, sessions in candidates.items():
            times[name].append(_step(sessions, inputs))
        if time.monotonic() > end:
            break
    return {name: 1e3 * float(np.median(values)) for name, values in times.items()}


def _step(sessions: Sessions, inputs: Mapping[str, Floats]) -> float:
    start = time.perf_counter()
    for role, session in sessions.items():
        session.run1(inputs[role])
    return time.perf_counter() - start
