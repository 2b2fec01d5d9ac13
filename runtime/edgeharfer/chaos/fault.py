"""What a fault is, where it is done, and what came of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2

from edgeharfer.chaos.server import MjpegServer
from edgeharfer.chaos.supervised import WatchedRun
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.source.demo import DemoSource

FPS = 15.0
BUSY = 2.0
"""From here on, a recovery that is late says nothing about the product."""
WORK_S = 0.2
"""Of processor time: enough to use up what a scheduler grants to a process that has been idle."""
_MAX_S = 10.0
_BLOCK = bytes(1 << 16)
PICTURES = 120
"""Of the demo, again and again: 8 s at 15 a second."""


def slowdown(clock: Clock | None = None, cpu_clock: Callable[[], float] = time.thread_time) -> float:
    """Wall time over processor time of a little work: 1 on an idle machine, 10 where ten share a core."""
    clock = clock or SystemClock()
    start_s, start_cpu_s = clock.monotonic(), cpu_clock()
    while (used_s := cpu_clock() - start_cpu_s) < WORK_S and clock.monotonic() - start_s < _MAX_S:
        hashlib.sha256(_BLOCK)
    return max(1.0, (clock.monotonic() - start_s) / max(used_s, 1e-3))


class FaultNotApplicable(Exception):
    """The fault cannot be done on this device; the message says why."""


@dataclass(frozen=True)
class Fault:
    """name: for --only. what: is done. limit_s: within which the product must be itself again.

    inject: does it, and returns the seconds until then; raises RecoveryError or FaultNotApplicable.
    """

    name: str
    what: str
    limit_s: float
    inject: Callable[[FaultEnvironment], float]


@dataclass(frozen=True)
class Outcome:
    """Of one fault. recovery_s is None where the product did not recover, or the fault was not tried.

    "too busy": it did not recover in time, and the machine had too much else to do to blame the product.
    slowdown: how many times longer work took at that time than on an idle machine.
    """

    name: str
    what: str
    limit_s: float
    result: Literal["pass", "fail", "too busy", "not tried"]
    recovery_s: float | None = None
    note: str = ""
    slowdown: float = 1.0


class FaultEnvironment:
    """Where faults are done: a folder, and a server that sends the demo's pictures.

    options: for `edgeharfer run`, such as the models to use. slowdown: measures how busy the machine is.
    """

    def __init__(
        self,
        folder: Path,
        server: MjpegServer,
        options: Sequence[str] = (),
        slowdown: Callable[[], float] = slowdown,
    ) -> None:
        self.folder, self.server, self.options, self.slowdown = folder, server, options, slowdown
        self.events = folder / "events.jsonl"
        self.clock = SystemClock()

    def run(
        self, *, options: Sequence[str] = (), prelude: str = "", wrapper: Sequence[str] = ()
    ) -> WatchedRun:
        """x"""
        options = [*self.options, *options]
        return WatchedRun(self.server.url, self.events, options, prelude=prelude, wrapper=wrapper)


def demo_pictures(width: int, height: int, count: int = PICTURES) -> list[bytes]:
    """The demo as JPEG, at that size and rate `FPS`."""
    demo = DemoSource(SystemClock())
    step = round((demo.fps or FPS) / FPS)
    scaled = (cv2.resize(demo.picture(step * number), (width, height)) for number in range(count))
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in scaled]
