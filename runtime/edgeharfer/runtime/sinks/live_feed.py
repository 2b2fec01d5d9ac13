"""The newest result of a run, for any number of viewers in a server's event loop."""

from __future__ import annotations

import asyncio
import json
import threading
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

HEARTBEAT_S = 1.0
"""How long a viewer waits where nothing is new; a response then also finds the viewers that have gone."""
STALE_S = 0.9 * HEARTBEAT_S
"""After so long the state beside a picture that has not changed is encoded again."""


@dataclass(frozen=True)
class Snapshot:
    """A picture and the state that goes with it. state: JSON. jpeg: empty before the first picture."""

    number: int
    state: bytes
    jpeg: bytes


class LiveFeed(Sink):
    """A sink that never waits for viewers: the run leaves references, and the first viewer has them encoded.

    A subclass says what the state is (`describe`) and what the picture shows (`encode`).
    number: of the newest state; it grows with each result. encoded: how many pictures were encoded.
    interval_s: between two pictures.
    """

    def __init__(self, clock: Clock, interval_s: float, number: int = 0) -> None:
        self.number, self.encoded = number, 0
        self._clock, self._interval_s = clock, interval_s
        self._lock = threading.Lock()
        self._latest: tuple[Frame, Result] | None = None
        self._status: Status | None = None
        self._written_s = self._due_s = clock.monotonic()
        self._jpeg: tuple[Result | None, bytes] = (None, b"")
        self._snapshot: Snapshot | None = None
        self._snapshot_s = clock.monotonic()
        self._stopping = False
        self._changed, self._encoding = asyncio.Event(), asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """The state, ready for JSON. Called with the lock held, in any thread."""

    @abstractmethod
    def encode(self, frame: Frame, result: Result, status: Status) -> bytes:
        """The picture as JPEG."""

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        with self._lock:
            self._latest, self._status = (frame, result), status
            self._written_s = self._clock.monotonic()
        self.notify()

    def refresh(self, status: Status) -> None:
        """While no results come: what became of the source. The number stays, since the picture does."""
        with self._lock:
            self._status = status

    def notify(self) -> None:
        """There is something new: viewers who wait are woken. From any thread."""
        with self._lock:
            self.number += 1
        self._wake()

    def stop(self) -> None:
        """The viewers' responses end with the newest state."""
        self._stopping = True
        self._wake()

    async def wait(self, number: int) -> None:
        """Until there is something newer than `number`, or it is time for a heartbeat."""
        self._loop = asyncio.get_running_loop()
        self._waiting += 1  # before the number is compared, so that a change in between is not missed
        try:
            if self.number == number and not self._stopping:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._waiting -= 1

    async def snapshot(self) -> Snapshot:
        """What is new now. The first viewer who asks has it encoded, and the others get the same bytes."""
        async with self._encoding:
            if self._snapshot is None or self._snapshot.number != self.number or self._is_stale():
                await asyncio.sleep(self._due_s - self._clock.monotonic())
                self._snapshot_s = self._clock.monotonic()
                self._due_s = self._snapshot_s + self._interval_s
                self._snapshot = await self._render()
            return self._snapshot

    def state(self) -> tuple[int, bytes]:
        """The number and the state of this moment, as JSON."""
        with self._lock:
            number, state = self.number, self.describe()
        return number, _json(state)

    async def _render(self) -> Snapshot:
        return await asyncio.to_thread(self._take)

    def _take(self) -> Snapshot:
        with self._lock:
            number, state, latest, status = self.number, self.describe(), self._latest, self._status
        if latest is None or status is None:
            return Snapshot(number, _json(state), b"")
        if self._jpeg[0] is not latest[1]:
            self._jpeg = latest[1], self.encode(*latest, status)
            self.encoded += 1
        return Snapshot(number, _json(state), self._jpeg[1])

    def _is_stale(self) -> bool:
        return self._clock.monotonic() - self._snapshot_s > STALE_S

    def _idle_s(self) -> float:
        """Since the last result."""
        return round(self._clock.monotonic() - self._written_s, 1)

    def _wake(self) -> None:
        if self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._pulse)

    def _pulse(self) -> None:
        self._changed.set()
        self._changed.clear()


def status_to_dict(status: Status) -> dict[str, Any]:
    """The status ready for JSON."""
    return {
        name: round(value, 2) if isinstance(value, float) else value for name, value in asdict(status).items()
    }


def _json(state: Mapping[str, Any]) -> bytes:
    return json.dumps(state, separators=(",", ":"), allow_nan=False).encode("ascii")
