"""A fault, the environment it is injected into, and its outcome."""

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
"""Slowdown from which a late recovery is attributed to the machine's load."""
WORK_S = 0.2
"""Processor time of the load measurement: more than the credit a scheduler grants to an idle process."""
_MAX_S = 10.0
_BLOCK = bytes(1 << 16)
PICTURES = 120
"""Number of demo pictures, sent in a loop: 8 s at 15 per second."""


def slowdown(clock: Clock | None = None, cpu_clock: Callable[[], float] = time.thread_time) -> float:
    """Measure how busy the machine is.

    Returns:
        Wall time divided by processor time of a short computation: 1 on an idle machine, 10 if ten
        processes share a core.
    """
    clock = clock or SystemClock()
    start_s, start_cpu_s = clock.monotonic(), cpu_clock()
    while (used_s := cpu_clock() - start_cpu_s) < WORK_S and clock.monotonic() - start_s < _MAX_S:
        hashlib.sha256(_BLOCK)
    return max(1.0, (clock.monotonic() - start_s) / max(used_s, 1e-3))


class FaultNotApplicable(Exception):
    """The fault cannot be injected on this device; the message says why."""


@dataclass(frozen=True)
class Fault:
    """A fault to inject.

    Attributes:
        name: Name for `--only`.
        what: Description for the table.
        limit_s: Maximum time to recover.
        inject: Injects the fault and returns the seconds until recovery; raises RecoveryError or
            FaultNotApplicable.
    """

    name: str
    what: str
    limit_s: float
    inject: Callable[[FaultEnvironment], float]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one fault.

    Attributes:
        name: Name of the fault.
        what: Description of the fault.
        limit_s: Maximum time to recover.
        result: "too busy" means that the recovery was late while the machine was under heavy load.
        recovery_s: Seconds until recovery; None if there was none or the fault was not injected.
        note: Reason of a result other than "pass".
        slowdown: See `slowdown`.
    """

    name: str
    what: str
    limit_s: float
    result: Literal["pass", "fail", "too busy", "not tried"]
    recovery_s: float | None = None
    note: str = ""
    slowdown: float = 1.0


class FaultEnvironment:
    """The environment of a fault.

    Args:
        folder: Folder for files.
        server: Server that sends the demo's pictures.
        options: Options of `edgeharfer run`, such as the models to use.
        slowdown: Measures how busy the machine is.
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
        """A run on the server's pictures, not yet started, with `options` after those of the environment."""
        options = [*self.options, *options]
        return WatchedRun(self.server.url, self.events, options, prelude=prelude, wrapper=wrapper)


def demo_pictures(width: int, height: int, count: int = PICTURES) -> list[bytes]:
    """Frames of the demo as JPEG in the given size, at the rate `FPS`."""
    demo = DemoSource(SystemClock())
    step = round((demo.fps or FPS) / FPS)
    scaled = (cv2.resize(demo.picture(step * number), (width, height)) for number in range(count))
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in scaled]
