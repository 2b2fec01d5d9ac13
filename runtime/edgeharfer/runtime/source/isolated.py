"""Live sources read in a separate process, so that no native call can hang or crash the run.

FFmpeg respects its timeouts when the peer is silent, sends bytes slowly or drops packets (measured: 5.0 to
5.1 s for 5 s to open, 1.5 s for 1.5 s to read), but not during name resolution (10 s with a silent name
server), and V4L2 drivers may block indefinitely. With a separate process the run still stops within 2 s,
and a crash in a decoder is a lost source rather than the end of the run.

The measured cost of the socket transfer is 0.3 % of a core for 640x480 at 30 fps and 2 % for 1920x1080; the
second interpreter with OpenCV and PyAV takes about 80 MB. The processes of several sources share that memory
(see `reader_server`).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from edgeharfer.runtime.child import Child, child_command, signal_name
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import CameraError, SourceError
from edgeharfer.runtime.source.base import LiveTime, Source, SourceOptions
from edgeharfer.runtime.source.direct import DirectSource
from edgeharfer.runtime.source.messages import ConnectionLost, FrameMessage, Reader, StatusMessage, receive
from edgeharfer.runtime.source.reader_server import STOP_S
from edgeharfer.runtime.source.requests import OpenRequest, to_line
from edgeharfer.runtime.types import Frame

OPEN_S = 12.0
"""Maximum time to open in seconds: FFmpeg's 5 s, a slow name server, and the start of the reader process."""
_STEP_S = 0.1
_SILENCE_S = 5.5

_KINDS = {kind.__name__: kind for kind in (SourceError, CameraError, MemoryError)}


def open_live(name: str, request: OpenRequest, options: SourceOptions) -> Source:
    """Open a restartable live source, in a separate process on POSIX systems.

    Args:
        name: Display name of the source.
        request: What to open.
        options: Options of the source; `clock` and `stopping` are used here.

    Raises:
        CameraError: The camera cannot be opened.
        SourceError: Any other source cannot be opened.
        KeyboardInterrupt: `options.stopping` returned True.
    """
    if os.name == "posix":
        start_reader = options.start_reader or ReaderProcess
        return IsolatedSource(name, request, options.clock, options.stopping, start_reader)
    return DirectSource(partial(request.open, options.clock))


class ReaderProcess(Child):
    """A reader process and the socket to it."""

    def __init__(self) -> None:
        """Start the process.

        Raises:
            OSError: The process cannot be started.
        """
        self.sock, child_sock = socket.socketpair()
        with child_sock:
            try:
                super().__init__(
                    child_command(f"{__package__}.reader", str(child_sock.fileno())),
                    pass_fds=(child_sock.fileno(),),
                    grace_s=STOP_S,
                )
            except OSError:
                self.sock.close()
                raise

    @property
    def pid(self) -> int:
        """Process ID."""
        return self.process.pid

    def end(self) -> int | None:
        self.sock.close()
        return super().end()


class IsolatedSource(Source):
    """A source in a reader process: a live one, which can be restarted, or a film on a web server.

    The reader process timestamps the frames of a live source when they arrive. The frames of a film have the
    times of the film, and the reader waits until each one is read.
    """

    live = restartable = True

    def __init__(
        self,
        name: str,
        request: OpenRequest,
        clock: Clock,
        stopping: Callable[[], bool] = lambda: False,
        start_reader: Callable[[], Reader] = ReaderProcess,
    ) -> None:
        """Start the reader process and wait until the source is open, 12 s at most.

        Args:
            name: Display name of the source.
            request: What to open.
            clock: Clock of the run.
            stopping: Polled while waiting; KeyboardInterrupt is raised once it returns True.
            start_reader: Starts a reader process; it may raise OSError.

        Raises:
            CameraError: The camera cannot be opened.
            SourceError: Any other source cannot be opened.
        """
        self.name, self._start_reader = name, start_reader
        self._request, self._clock, self._system_clock = request, clock, SystemClock()
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._closed = self._opened = self._idle = False
        self._live_time = LiveTime()
        self._expected = 0
        try:
            self._open(stopping)
        except BaseException:
            self.close()
            raise

    def _open(self, stopping: Callable[[], bool]) -> None:
        self.reconnect()
        due_s = self._system_clock.monotonic() + OPEN_S
        while not self._opened:
            self.read_within(_STEP_S)
            if stopping():
                raise KeyboardInterrupt
            if self._system_clock.monotonic() > due_s:
                raise SourceError(
                    f"{self.name}: not opened within {OPEN_S:g} s: check the device or the network"
                )

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end and after `close`.

        Raises:
            SourceError: No frame arrived for 5.5 s, or the source failed.
        """
        due_s = self._system_clock.monotonic() + _SILENCE_S
        while not (self._closed or self.ended):
            if (frame := self.read_within(_STEP_S)) is not None:
                return frame
            if self._system_clock.monotonic() > due_s:
                raise SourceError(
                    f"{self.name}: no frame for {_SILENCE_S:g} s: check the device or the network"
                )
        return None

    def read_within(self, timeout_s: float) -> Frame | None:
        with self._lock:
            if self._reader is None:
                return None
            try:
                message = receive(self._reader.sock, timeout_s)
            except ConnectionLost as error:
                raise SourceError(self._failure_message(str(error))) from error
            if isinstance(message, FrameMessage):
                return self._frame(message)
            if isinstance(message, StatusMessage):
                self._handle_status(message.content)
            return None

    def reconnect(self) -> None:
        with self._lock:
            if self._closed:
                return
            if not self._idle:
                self._stop_reader()
            self._opened = self._idle = False
            self._expected = 0
            try:
                self._reader = self._reader or self._start_reader()
                self._reader.sock.settimeout(STOP_S)
                self._reader.sock.sendall(to_line(self._request))
            except OSError as error:
                self._stop_reader()
                raise SourceError(f"{self.name}: the reader process cannot be started: {error}") from error

    def close(self) -> None:
        """End the reader process, within about 1 s even if it hangs."""
        with self._lock:
            self._closed = True
            self._stop_reader()

    def _frame(self, message: FrameMessage) -> Frame:
        # Converted to the clock of this run, which may differ from the system clock of the reader.
        captured_s = self._clock.monotonic() - (self._system_clock.monotonic() - message.captured_s)
        self.bad_pictures += max(0, message.seq - self._expected)
        self._expected = message.seq + 1
        pts_s = self._live_time.pts_s(captured_s) if self.live else message.pts_s
        return Frame(message.seq, pts_s, captured_s, message.picture)

    def _handle_status(self, content: dict[str, Any]) -> None:
        if "opened" in content:
            info = content["opened"]
            self.details, self.fps, self.frame_count = info["details"], info["fps"], info["frame_count"]
            self.size = tuple(info["size"])
            self.live = self.restartable = info["live"]
            self._opened = True
            return
        self._idle = True
        if "ended" in content:
            self.unreadable = content["ended"]["unreadable"]
            self.skipped = [(Path(path), reason) for path, reason in content["ended"]["skipped"]]
            self.ended = True
        elif content["kind"] in _KINDS:
            raise _KINDS[content["kind"]](content["failed"])
        else:
            raise RuntimeError(f"{self.name}: {content['failed']}")

    def _failure_message(self, reason: str) -> str:
        code = self._stop_reader()
        if name := signal_name(code):
            reason = f"crashed ({name}): out of memory, or a bug in a driver or codec"
        return f"{self.name}: the reader process {reason}"

    def _stop_reader(self) -> int | None:
        reader, self._reader = self._reader, None
        self._idle = False
        return None if reader is None else reader.end()
