"""A live source that another process reads, so that no native call can hang or crash the run.

Why a process: OpenCV's FFmpeg keeps the time-outs it is given against a peer that is silent, trickles bytes
or drops packets (measured: 5.0 to 5.1 s for 5 s to open, 1.5 s for 1.5 s to read), but not while a name is
looked up (10 s with a silent name server), and V4L2 drivers may block for as long as they like. A stop must
come through within 2 s all the same, and a crash inside a decoder is a lost source, not the end of the run.

The price, measured on the way through the socket: 2 % of a core for 640x480 at 30 frames a second, 8 % for
1920x1080; and about 60 MB for a second interpreter with OpenCV.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from edgeharfer.runtime.child import Child, child_command, signal_name
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import CameraError, SourceError
from edgeharfer.runtime.source.base import Source, SourceOptions
from edgeharfer.runtime.source.direct import DirectSource
from edgeharfer.runtime.source.messages import ConnectionLost, FrameMessage, StatusMessage, receive
from edgeharfer.runtime.source.requests import OpenRequest, to_line
from edgeharfer.runtime.types import Frame

OPEN_S = 12.0
"""How long opening may take: FFmpeg's own 5 s, a slow name server, and the start of the reader."""
_STEP_S = 0.1
_SILENCE_S = 5.5
# How long a reader may take to end by itself.
_END_S = 0.5

_KINDS = {kind.__name__: kind for kind in (SourceError, CameraError)}


def open_live(name: str, order: OpenRequest, options: SourceOptions) -> Source:
    """Open a live source so that it can be lost and found: in a process of its own where the system can."""
    if os.name == "posix":
        return IsolatedSource(name, order, options.clock, options.stopping)
    return DirectSource(partial(order.open, options.clock))


class ReaderProcess(Child):
    """A running reader, and the link to it."""

    def __init__(self) -> None:
        """Start it. Raises OSError where the system has no room for another process."""
        self.link, theirs = socket.socketpair()
        with theirs:
            try:
                super().__init__(
                    child_command(f"{__package__}.reader", str(theirs.fileno())),
                    pass_fds=(theirs.fileno(),),
                    grace_s=_END_S,
                )
            except OSError:
                self.link.close()
                raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def order(self, order: OpenRequest) -> None:
        """Have it open a source. Raises OSError where it is gone."""
        self.link.settimeout(_END_S)
        self.link.sendall(to_line(order))

    def end(self) -> int | None:
        self.link.close()
        return super().end()


class IsolatedSource(Source):
    """A restartable source in a process of its own; frames are stamped there, as they come."""

    live = restartable = True

    def __init__(
        self, name: str, order: OpenRequest, clock: Clock, stopping: Callable[[], bool] = lambda: False
    ) -> None:
        """Start the reader and wait until the source is open, 12 s at most.

        stopping: asked meanwhile; once true, KeyboardInterrupt is raised.
        Raises CameraError or SourceError where the source cannot be opened.
        """
        self.name = name
        self._order, self._clock, self._shared = order, clock, SystemClock()
        self._lock = threading.Lock()
        self._reader: ReaderProcess | None = None
        self._closed = self._opened = self._idle = False
        self._start_s: float | None = None
        self._expected = 0
        try:
            self._open(stopping)
        except BaseException:
            self.close()
            raise

    def _open(self, stopping: Callable[[], bool]) -> None:
        self.reconnect()
        due_s = self._shared.monotonic() + OPEN_S
        while not self._opened:
            self.read_within(_STEP_S)
            if stopping():
                raise KeyboardInterrupt
            if self._shared.monotonic() > due_s:
                raise SourceError(f"{self.name}: does not open within {OPEN_S:g} s: check it and the network")

    def read(self) -> Frame | None:
        """The next frame; None at the end and after `close`. Raises SourceError where none comes any more."""
        due_s = self._shared.monotonic() + _SILENCE_S
        while not (self._closed or self.ended):
            if (frame := self.read_within(_STEP_S)) is not None:
                return frame
            if self._shared.monotonic() > due_s:
                raise SourceError(f"{self.name}: no picture comes from it any more: check it and the network")
        return None

    def read_within(self, timeout_s: float) -> Frame | None:
        with self._lock:
            if self._reader is None:
                return None
            try:
                message = receive(self._reader.link, timeout_s)
            except ConnectionLost as error:
                raise SourceError(self._how_it_broke(str(error))) from error
            if isinstance(message, FrameMessage):
                return self._frame(message)
            if isinstance(message, StatusMessage):
                self._take_in(message.content)
            return None

    def reconnect(self) -> None:
        with self._lock:
            if self._closed:
                return
            if not self._idle:
                self._end_reader()
            self._opened = self._idle = False
            self._expected = 0
            try:
                self._reader = self._reader or ReaderProcess()
                self._reader.order(self._order)
            except OSError as error:
                self._end_reader()
                raise SourceError(f"{self.name}: its reader cannot be started: {error}") from error

    def close(self) -> None:
        """End the reader, within about 1 s whatever it does."""
        with self._lock:
            self._closed = True
            self._end_reader()

    def _frame(self, picture: FrameMessage) -> Frame:
        # By the clock of this run, which need not be the one that the reader has stamped it with.
        captured_s = self._clock.monotonic() - (self._shared.monotonic() - picture.captured_s)
        self._start_s = captured_s if self._start_s is None else self._start_s
        self.bad_pictures += max(0, picture.seq - self._expected)
        self._expected = picture.seq + 1
        return Frame(picture.seq, captured_s - self._start_s, captured_s, picture.bgr)

    def _take_in(self, content: dict[str, Any]) -> None:
        if "opened" in content:
            facts = content["opened"]
            self.details, self.fps, self.frame_count = facts["details"], facts["fps"], facts["frame_count"]
            self.size = tuple(facts["size"])
            self._opened = True
            return
        self._idle = True
        if "ended" in content:
            self.ended = True
        elif content["kind"] in _KINDS:
            raise _KINDS[content["kind"]](content["failed"])
        else:
            raise RuntimeError(f"{self.name}: {content['failed']}")

    def _how_it_broke(self, why: str) -> str:
        code = self._end_reader()
        if name := signal_name(code):
            why = f"crashed ({name}): out of memory, or a defect of a driver or codec"
        return f"{self.name}: its reader process {why}"

    def _end_reader(self) -> int | None:
        reader, self._reader = self._reader, None
        self._idle = False
        return None if reader is None else reader.end()
