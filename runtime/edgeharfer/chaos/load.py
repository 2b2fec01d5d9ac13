"""How busy the machine is, measured by how long a little work takes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from edgeharfer.runtime.clock import Clock, SystemClock

BUSY = 2.0
"""From here on, a recovery that is late says nothing about the product."""
WORK_S = 0.2
"""Of processor time: enough to use up what a scheduler grants to a process that has been idle."""
_LONGEST_S = 10.0
_BLOCK = bytes(1 << 16)


def slowdown(clock: Clock | None = None, cpu_clock: Callable[[], float] = time.thread_time) -> float:
    """Wall time over processor time of a little work: 1 on an idle machine, 10 where ten share a core."""
    clock = clock or SystemClock()
    start_s, start_cpu_s = clock.monotonic(), cpu_clock()
    while (used_s := cpu_clock() - start_cpu_s) < WORK_S and clock.monotonic() - start_s < _LONGEST_S:
        hashlib.sha256(_BLOCK)
    return max(1.0, (clock.monotonic() - start_s) / max(used_s, 1e-3))
