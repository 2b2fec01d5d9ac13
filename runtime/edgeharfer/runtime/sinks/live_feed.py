"""The newest result of a run, shared by any number of viewers in a server's event loop."""

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
from edgeharfer.runtime.timeouts import timeout
from edgeharfer.runtime.types import Frame

HEARTBEAT_S = 1.0
"""Longest wait of a viewer without news; writing to it then also detects a closed connection."""
STALE_S = 0.9 * HEARTBEAT_S
"""Age after which the state of an unchanged image is encoded again."""


@dataclass(frozen=True)
class Snapshot:
    """An image and its state.

    Attributes:
        number: Number of the state; it grows with each result.
        state: JSON.
        jpeg: JPEG; empty before the first image.
    """

    number: int
    state: bytes
    jpeg: bytes


class LiveFeed(Sink):
    """A sink that never waits for viewers: `write` keeps references, which are encoded on demand.

    Subclasses implement `describe` for the state and `encode` for the image.

    Attributes:
        number: Number of the newest state; it grows with each result.
        encoded: Number of images that were encoded.
    """

    def __init__(self, clock: Clock, interval_s: float, number: int = 0) -> None:
        """Start without a result.

        Args:
            clock: Monotonic time.
            interval_s: Shortest time between two images, in seconds.
            number: First number of a state.
        """
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
        """Return the state, ready for JSON. Called from any thread, with the lock held."""

    @abstractmethod
    def encode(self, frame: Frame, result: Result, status: Status) -> bytes:
        """Encode the image as JPEG."""

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        with self._lock:
            self._latest, self._status = (frame, result), status
            self._written_s = self._clock.monotonic()
        self.notify()

    def refresh(self, status: Status) -> None:
        """Update the status while there are no results; the number does not change."""
        with self._lock:
            self._status = status

    def notify(self) -> None:
        """Wake the waiting viewers for a new state. Can be called from any thread."""
        with self._lock:
            self.number += 1
        self._wake()

    def stop(self) -> None:
        """End the responses of all viewers after the newest state."""
        self._stopping = True
        self._wake()

    async def wait(self, number: int) -> None:
        """Wait for a state newer than `number`, at most HEARTBEAT_S seconds."""
        self._loop = asyncio.get_running_loop()
        self._waiting += 1  # before the comparison, so that no change is missed
        try:
            if self.number == number and not self._stopping:
                async with timeout(HEARTBEAT_S):
                    await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._waiting -= 1

    async def snapshot(self) -> Snapshot:
        """Return the newest snapshot, encoded once for all viewers."""
        async with self._encoding:
            if self._snapshot is None or self._snapshot.number != self.number or self._is_stale():
                await asyncio.sleep(self._due_s - self._clock.monotonic())
                self._snapshot_s = self._clock.monotonic()
                self._due_s = self._snapshot_s + self._interval_s
                self._snapshot = await self._render()
            return self._snapshot

    def state(self) -> tuple[int, bytes]:
        """Return the current number and state, as JSON."""
        with self._lock:
            number, state = self.number, self.describe()
        return number, _json(state)

    async def _render(self) -> Snapshot:
        return await asyncio.to_thread(self._encode_snapshot)

    def _encode_snapshot(self) -> Snapshot:
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
        """Seconds since the last result."""
        return round(self._clock.monotonic() - self._written_s, 1)

    def _wake(self) -> None:
        if self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._notify_waiting)

    def _notify_waiting(self) -> None:
        self._changed.set()
        self._changed.clear()


def status_to_dict(status: Status) -> dict[str, Any]:
    """Convert the status for JSON."""
    return {
        name: round(value, 2) if isinstance(value, float) else value
        for name, value in asdict(status).items()
        if name != "source"
    }


def _json(state: Mapping[str, Any]) -> bytes:
    return json.dumps(state, separators=(",", ":"), allow_nan=False).encode("ascii")
