"""The reader process of one camera or stream; `isolated` starts it as `python -m …reader DESCRIPTOR`.

It receives requests over the socket with that file descriptor, one per line, and sends frames and status
messages. A request is served until its source fails or ends. Then the process waits for the next one, so that
repeated attempts to reconnect cost next to nothing. The process exits when the peer closes the socket, even
while it is blocked in a native call.
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
from edgeharfer.runtime.errors import SourceError, is_out_of_memory
from edgeharfer.runtime.source import messages
from edgeharfer.runtime.source.address import redact_within
from edgeharfer.runtime.source.base import STALE_S, Source
from edgeharfer.runtime.source.messages import ConnectionLost, FrameMessage, StatusMessage
from edgeharfer.runtime.source.requests import OpenRequest, from_line

# Time that a native call may continue after the peer has closed the socket.
_GRACE_S = 0.3
_TICK_S = 0.5


class RequestQueue:
    """An iterator over the incoming requests.

    Attributes:
        closed: Set when the peer has closed the socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.closed = threading.Event()
        self._done = threading.Event()
        self._queue: queue.SimpleQueue[OpenRequest | None] = queue.SimpleQueue()
        self._sock = sock
        self._thread = threading.Thread(target=self._listen, name="requests")
        self._thread.start()

    def __iter__(self) -> Iterator[OpenRequest]:
        while (request := self._queue.get()) is not None:
            yield request
        self._done.set()

    def _listen(self) -> None:
        # An error here means that the peer exited while a frame was being sent.
        with contextlib.suppress(OSError), self._sock.makefile("rb") as lines:
            for line in lines:
                self._queue.put(from_line(line))
        self.closed.set()
        self._queue.put(None)
        if not self._done.wait(_GRACE_S):
            os._exit(1)  # nothing else ends a thread that is blocked outside Python


class PauseDetector:
    """Detects that this process was stopped for a while, for example by SIGSTOP, from a gap in its clock."""

    def __init__(self, clock: Clock, closed: threading.Event) -> None:
        self._clock, self._closed = clock, closed
        self._tick_s = clock.monotonic()
        self._paused = False
        self._thread = threading.Thread(target=self._run, name="pauses")
        self._thread.start()

    def paused(self) -> bool:
        """Return whether the process was stopped for longer than STALE_S since the last call."""
        self.tick()
        paused, self._paused = self._paused, False
        return paused

    def tick(self) -> None:
        """Record that the process is running; call it frequently."""
        now_s = self._clock.monotonic()
        self._paused |= now_s - self._tick_s > STALE_S
        self._tick_s = now_s

    def join(self) -> None:
        """Wait for the thread, which ends when `closed` is set."""
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(_TICK_S):
            self.tick()


class FrameForwarder:
    """Sends the frames of a source to the parent process.

    After a long pause in reading or sending, the source is opened again, because drivers and the network
    buffer old frames, which would get new timestamps. A film on a web server is not opened again, as it would
    restart from the beginning.
    """

    def __init__(self, sock: socket.socket, closed: threading.Event, clock: Clock) -> None:
        self._sock, self._closed, self._clock = sock, closed, clock
        self._pauses = PauseDetector(clock, closed)

    def forward(self, request: OpenRequest) -> None:
        """Open a source and send its frames until it fails or ends.

        Raises:
            ConnectionLost: The peer closed the socket.
        """
        first = 0
        try:
            while not self._closed.is_set():
                with request.open(self._clock) as source:
                    messages.send(self._sock, StatusMessage({"opened": source_info(source)}))
                    next_seq = self._send_frames(source, first)
                    if next_seq is None:
                        messages.send(self._sock, StatusMessage({"ended": missing_parts(source)}))
                        return
                first = next_seq
        except SourceError as error:
            messages.send(self._sock, StatusMessage({"failed": str(error), "kind": type(error).__name__}))

    def close(self) -> None:
        """Wait for the thread, after `closed` was set."""
        self._pauses.join()

    def _send_frames(self, source: Source, first: int) -> int | None:
        """Return None at the end of the source, or the next frame number if it has to be opened again."""
        next_seq = first
        self._pauses.paused()  # discards the time that opening took
        while not self._closed.is_set():
            frame = source.read()
            if frame is None:
                return None
            if self._pauses.paused() and source.live:
                break
            start_s = self._clock.monotonic()
            messages.send(
                self._sock, FrameMessage(first + frame.seq, frame.captured_s, frame.pts_s, frame.picture)
            )
            next_seq = first + frame.seq + 1
            if self._clock.monotonic() - start_s > STALE_S and source.live:
                break
        return next_seq


def source_info(source: Source) -> dict[str, Any]:
    """Return the properties of an open source that the parent process needs."""
    return {
        "details": source.details,
        "size": source.size,
        "fps": source.fps,
        "frame_count": source.frame_count,
        "live": source.live,
    }


def missing_parts(source: Source) -> dict[str, Any]:
    """Return what could not be read of a source that has ended."""
    return {
        "unreadable": source.unreadable,
        "skipped": [(str(path), reason) for path, reason in source.skipped],
    }


def main(descriptor: int) -> None:
    """Serve requests until the peer closes the socket.

    Args:
        descriptor: File descriptor of the socket.
    """
    with socket.socket(fileno=descriptor) as sock:
        requests = RequestQueue(sock)
        forwarder = FrameForwarder(sock, requests.closed, SystemClock())
        for request in requests:
            try:
                forwarder.forward(request)
            except ConnectionLost:
                continue  # the peer closed the socket, so the iteration ends
            except Exception as error:  # too little memory, or a bug: the parent process raises it
                kind = MemoryError.__name__ if is_out_of_memory(error) else "defect"
                text = redact_within(f"{type(error).__name__}: {error}")
                messages.send(sock, StatusMessage({"failed": text, "kind": kind}))
        forwarder.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
