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

from ..clock import SystemClock
from ..errors import SourceError
from . import messages
from .address import redact_within
from .messages import BrokenLinkError, News, Picture
from .orders import Order, from_line

# How long a native call may go on once nobody listens any more.
_GRACE_S = 0.3


class Orders:
    """The orders as they come in; `over` when there will be none."""

    def __init__(self, link: socket.socket) -> None:
        self.over = threading.Event()
        self._done = threading.Event()
        self._queue: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._link = link
        self._thread = threading.Thread(target=self._listen, name="orders")
        self._thread.start()

    def __iter__(self) -> Iterator[Order]:
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


def follow(order: Order, link: socket.socket, over: threading.Event) -> None:
    """Send what the source gives until it fails or ends. Raises BrokenLinkError where nobody listens."""
    try:
        with order.open(SystemClock()) as source:
            facts = {name: getattr(source, name) for name in ("details", "size", "fps", "frame_count")}
            messages.send(link, News({"opened": facts}))
            while not over.is_set():
                frame = source.read()
                if frame is None:
                    messages.send(link, News({"ended": True}))
                    return
                messages.send(link, Picture(frame.seq, frame.captured_s, frame.bgr))
    except SourceError as error:
        messages.send(link, News({"failed": str(error), "kind": type(error).__name__}))


def main(descriptor: int) -> None:
    """Follow orders until there are no more."""
    with socket.socket(fileno=descriptor) as link:
        orders = Orders(link)
        for order in orders:
            try:
                follow(order, link, orders.over)
            except BrokenLinkError:
                continue  # nobody listens, so there will be no further order
            except Exception as error:  # told where it can be seen, and ends the run there
                messages.send(
                    link,
                    News({"failed": redact_within(f"{type(error).__name__}: {error}"), "kind": "defect"}),
                )


if __name__ == "__main__":
    main(int(sys.argv[1]))
