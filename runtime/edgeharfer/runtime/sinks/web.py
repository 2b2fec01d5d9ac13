"""A live view for a browser on this machine, or at the end of an ssh tunnel to it (`--view web`)."""

from __future__ import annotations

import errno
import threading
from types import TracebackType
from typing import Any, Self

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.sinks.base import Sink, SinkOptions
from edgeharfer.runtime.sinks.web_board import Board
from edgeharfer.runtime.sinks.web_server import LOOPBACK, Server
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Result


def make_sink(target: str, options: SinkOptions) -> Sink:
    """A page on the loopback interface."""
    return WebSink(port=options.port)


class WebSink(Sink):
    """Serves a page with the newest picture and result on the loopback interface, for looking only.

    The run never waits for a viewer: `write` leaves a reference, and the viewers' threads do the rest.
    """

    def __init__(self, *, host: str = LOOPBACK, port: int = 8765, clock: Clock | None = None) -> None:
        if host != LOOPBACK:
            raise ConfigError(f"{host}: the web view answers on {LOOPBACK} only; reach it by an ssh tunnel")
        self._port = port
        self._board = Board(clock or SystemClock())

    @property
    def url(self) -> str:
        """Where the page is; with port 0 only known once the sink is entered."""
        return f"http://{LOOPBACK}:{self._port}/"

    def __enter__(self) -> Self:
        try:
            self._server = Server((LOOPBACK, self._port), self._board)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "is in use by another program" if taken else f"cannot be used ({error.strerror})"
            raise SinkError(f"{self.url}: the port {reason}; give another one with --port") from error
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="web view")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.stop()
        self._server.end()
        self._thread.join()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._board.show(frame, result, status)

    def refresh(self, status: Status) -> None:
        """While no results come: what became of the source."""
        self._board.refresh(status)

    def finish(self, summary: dict[str, Any]) -> None:
        self._board.ended = True
