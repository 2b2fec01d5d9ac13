"""The process that reads one camera or stream; `isolated` starts it as `python -m …reader DESCRIPTOR`.

Orders come in over the socket of that number, one a line, and its frames and news go out. An order is
followed until its source fails or ends; then the next one is waited for, so that a source which stays away
is asked for again and again at next to no cost. The process ends when the other side of the socket does,
even where it is blocked in a native call.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source import messages
from edgeharfer.runtime.source.address import redact_within
from edgeharfer.runtime.source.base import STALE_S, Source
from edgeharfer.runtime.source.messages import ConnectionLost, FrameMessage, StatusMessage
from edgeharfer.runtime.source.requests import OpenRequest, from_line

# How long a native call may go on once nobody listens any more.
_GRACE_S = 0.3
_TICK_S = 0.5


class RequestQueue:
    """The orders as they come in; `over` when there will be none."""

    def __init__(self, link: socket.socket) -> None:
        self.over = threading.Event()
        self._done = threading.Event()
        self._queue: queue.SimpleQueue[OpenRequest | None] = queue.SimpleQueue()
        self._link = link
        self._thread = threading.Thread(target=self._listen, name="orders")
        self._thread.start()

    def __iter__(self) -> Iterator[OpenRequest]:
        while (order := self._queue.get()) is not None:
            yield order
        self._done.set()

    def _listen(self) -> None:
        # An error here is the other side leaving in the midst of a picture.
        with contextlib.suppress(OSError), self._link.makefile("rb") as lines:
            for line in lines:
                self._queue.put(from_line(line))
        self.over.set()
        self._queue.put(None)
        if not self._done.wait(_GRACE_S):
            os._exit(1)  # nothing else ends a thread that is blocked outside Python


class PauseDetector:
    """Notices when this process did not run for a while, as after SIGSTOP: its clock ran on without it."""

    def __init__(self, clock: Clock, over: threading.Event) -> None:
        self._clock, self._over = clock, over
        self._tick_s = clock.monotonic()
        self._paused = False
        self._thread = threading.Thread(target=self._run, name="pauses")
        self._thread.start()

    def paused(self) -> bool:
        """Whether it stood still for longer than STALE_S since the last call."""
        self.tick()
        paused, self._paused = self._paused, False
        return paused

    def tick(self) -> None:
        """Called often, while the process runs."""
        now_s = self._clock.monotonic()
        self._paused |= now_s - self._tick_s > STALE_S
        self._tick_s = now_s

    def join(self) -> None:
        """Wait for its thread, which ends when `over` is set."""
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(_TICK_S):
            self.tick()


class FrameForwarder:
    """Sends what sources give.

    A source whose frames were not taken for long, or that was not read for long, is opened again: drivers and
    the network hold its old pictures back, and these would come with new times. A film on a web server is
    not, as it would begin again.
    """

    def __init__(self, link: socket.socket, over: threading.Event, clock: Clock) -> None:
        self._link, self._over, self._clock = link, over, clock
        self._pauses = PauseDetector(clock, over)

    def follow(self, order: OpenRequest) -> None:
        """Send frames until the source fails or ends. Raises ConnectionLost where nobody listens."""
        first = 0
        try:
            while not self._over.is_set():
                with order.open(self._clock) as source:
                    messages.send(self._link, StatusMessage({"opened": facts(source)}))
                    following = self._send_frames(source, first)
                if following is None:
                    messages.send(self._link, StatusMessage({"ended": True}))
                    return
                first = following
        except SourceError as error:
            messages.send(self._link, StatusMessage({"failed": str(error), "kind": type(error).__name__}))

    def close(self) -> None:
        """Wait for its thread, once there will be no more orders."""
        self._pauses.join()

    def _send_frames(self, source: Source, first: int) -> int | None:
        """None at the end of the source; the number of the next frame where it has to be opened again."""
        following = first
        self._pauses.paused()  # while it was opened there were no pictures
        while not self._over.is_set():
            frame = source.read()
            if frame is None:
                return None
            if self._pauses.paused() and source.frame_count is None:
                break
            start_s = self._clock.monotonic()
            messages.send(self._link, FrameMessage(first + frame.seq, frame.captured_s, frame.bgr))
            following = first + frame.seq + 1
            if self._clock.monotonic() - start_s > STALE_S and source.frame_count is None:
                break
        return following


def facts(source: Source) -> dict[str, Any]:
    """What the other side is told of a source that was opened."""
    return {
        "details": source.details,
        "size": source.size,
        "fps": source.fps,
        "frame_count": source.frame_count,
    }


def main(descriptor: int) -> None:
    """Follow orders until there are no more."""
    with socket.socket(fileno=descriptor) as link:
        orders = RequestQueue(link)
        follower = FrameForwarder(link, orders.over, SystemClock())
        for order in orders:
            try:
                follower.follow(order)
            except ConnectionLost:
                continue  # nobody listens, so there will be no further order
            except Exception as error:  # told where it can be seen, and ends the run there
                messages.send(
                    link,
                    StatusMessage(
                        {"failed": redact_within(f"{type(error).__name__}: {error}"), "kind": "defect"}
                    ),
                )
        follower.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
