"""A live view for a browser on this machine, or at the end of an ssh tunnel to it (`--view web`)."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RD, SHUT_RDWR, SO_SNDBUF, SOL_SOCKET
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self

import cv2

from ..clock import Clock, SystemClock
from ..errors import ConfigError, SinkError
from ..overlay import annotate
from ..stats import Status
from ..types import Frame, Result
from .events import result_to_dict

LOOPBACK = "127.0.0.1"
# Any other name is a foreign page's own, made to point here. The near end of a tunnel chooses its port.
LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
MOST_CONNECTIONS, MOST_VIEWERS = 32, 8
SOCKET_TIMEOUT_S = 5.0
GRACE_S = 0.5  # for viewers to read the last state before they are cut off
SEND_BUFFER_BYTES = 128 * 1024  # a larger one would only make a slow viewer's pictures older
INTERVAL_S = 1 / 15  # between two pictures
HEARTBEAT_S = 1.0  # the same again while nothing is new; it also finds the viewers that have gone
LEAST_HEIGHT, LONGEST_SIDE, JPEG_QUALITY = 480, 1280, 80
PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n"
HEADERS = {
    "Allow": "GET",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_log = logging.getLogger(__name__)


class WebSink:
    """Serves a page with the newest picture and result on the loopback interface, for looking only.

    The run never waits for a viewer: `write` leaves a reference, and the viewers' threads do the rest.
    """

    closed = False

    def __init__(self, *, host: str = LOOPBACK, port: int = 8765, clock: Clock | None = None) -> None:
        if host != LOOPBACK:
            raise ConfigError(f"{host}: the web view answers on {LOOPBACK} only; reach it by an ssh tunnel")
        self._port = port
        self._board = _Board(clock or SystemClock())

    @property
    def url(self) -> str:
        """Where the page is; with port 0 only known once the sink is entered."""
        return f"http://{LOOPBACK}:{self._port}/"

    def __enter__(self) -> Self:
        try:
            self._server = _Server((LOOPBACK, self._port), self._board)
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
        self._board.change(stopping=True)
        self._server.end()
        self._thread.join()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._board.change(view=(frame, result, status))

    def finish(self, summary: dict[str, Any]) -> None:
        self._board.change(ended=True)


class _Board:
    """What there is to see: one puts it up, many look at it, and a picture is encoded once for all."""

    view: tuple[Frame, Result, Status] | None = None
    ended = stopping = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._number = 0  # of changes
        self._jpeg: tuple[int, bytes] = (0, b"")  # and the change that it shows
        self._changed_s = self._due_s = clock.monotonic()

    def change(self, **news: Any) -> None:
        with self._changed:
            vars(self).update(news)
            self._number += 1
            self._changed_s = self._clock.monotonic()
            self._changed.notify_all()

    def wait(self, number: int) -> bool:
        """Until there is something newer than `number`, or time for a heartbeat; whether it goes on."""
        with self._changed:
            self._changed.wait_for(lambda: self._number != number, HEARTBEAT_S)
            return not self.stopping

    def pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.stopping, seconds)

    def state(self) -> tuple[int, bytes]:
        """The newest state as JSON, and its number."""
        with self._changed:
            number, view, ended = self._number, self.view, self.ended
            idle_s = self._clock.monotonic() - self._changed_s
        run = "ended" if ended else "running" if view else "waiting"
        state: dict[str, Any] = {"kind": "state", "number": number, "run": run, "idle_s": round(idle_s, 1)}
        state["result"] = result_to_dict(view[1]) if view else None
        state["status"] = _rounded(asdict(view[2])) if view else None
        return number, json.dumps(state, separators=(",", ":"), allow_nan=False).encode("ascii")

    def picture(self) -> tuple[int, bytes]:
        """The newest picture as JPEG, empty before the first, and its number; not more often than is due."""
        with self._encoding:
            if self._jpeg[0] != self._number:
                self.pause(self._due_s - self._clock.monotonic())
                self._due_s = self._clock.monotonic() + INTERVAL_S
                with self._changed:
                    number, view = self._number, self.view
                self._jpeg = number, _encode(*view) if view else b""
            return self._jpeg


class _Server(ThreadingHTTPServer):
    """Bounded in its connections, and sure to end: its threads are joined, stalled viewers are cut off."""

    daemon_threads = False
    block_on_close = True
    allow_reuse_address = os.name == "posix"  # elsewhere it would let two programs share the port
    allow_reuse_port = False

    def __init__(self, address: tuple[str, int], board: _Board) -> None:
        self.board = board
        self.page = Path(__file__).with_name("web_page.html").read_text(encoding="utf-8")
        self.policy = _content_policy(self.page)
        self.viewers = threading.BoundedSemaphore(MOST_VIEWERS)
        self._open: set[Any] = set()
        self._left = threading.Condition()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own would look this machine up in the DNS
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._left:
            if len(self._open) >= MOST_CONNECTIONS:
                return False
            self._open.add(request)
        request.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES)
        return True

    def shutdown_request(self, request: Any) -> None:
        with self._left:
            self._open.discard(request)
            self._left.notify_all()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR  # a viewer may leave any time
        _log.log(level, "web view: an answer broke off: %r", error)

    def end(self) -> None:
        self.shutdown()
        with self._left:
            self._cut(SHUT_RD)  # idle ones leave by themselves
            self._left.wait_for(lambda: not self._open, GRACE_S)
            self._cut(SHUT_RDWR)
        self.server_close()

    def _cut(self, how: int) -> None:
        for request in self._open:
            with contextlib.suppress(OSError):  # the other side was faster
                request.shutdown(how)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: _Server
    timeout = SOCKET_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version, sys_version = "edgeharfer", ""
    error_content_type, error_message_format = "text/plain", "%(code)d %(message)s\n"

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        refusal = self._refusal()
        if refusal is not None:
            self.send_error(refusal)
        return refusal is None

    def _refusal(self) -> HTTPStatus | None:
        """Why a request is not answered; browsers tell which page a request comes from."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not LOCAL_HOST.fullmatch(hosts[0]):
            return HTTPStatus.FORBIDDEN
        own = f"http://{hosts[0]}"
        if self.headers.get("Origin", own) != own:
            return HTTPStatus.FORBIDDEN
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return HTTPStatus.FORBIDDEN
        if self.command != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED
        if "Transfer-Encoding" in self.headers or self.headers.get("Content-Length", "0") != "0":
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return None

    def handle_expect_100(self) -> bool:
        return True  # no body is asked for

    def do_GET(self) -> None:
        board, path = self.server.board, self.path.partition("?")[0]
        if path == "/":
            self._send("text/html; charset=utf-8", self.server.page.encode())
        elif path == "/state.json":
            self._send("application/json", board.state()[1])
        elif path == "/frame.jpg":
            self._send("image/jpeg", board.picture()[1])
        elif path == "/stream":
            self._send_on("multipart/x-mixed-replace; boundary=frame", self._pictures())
        elif path == "/events":
            self._send_on("text/event-stream", self._states())
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _pictures(self) -> Iterator[bytes]:
        going = True
        while going:
            number, jpeg = self.server.board.picture()
            yield PART % (len(jpeg), jpeg) if jpeg else b""
            going = self.server.board.wait(number)

    def _states(self) -> Iterator[bytes]:
        going = True
        while going:
            number, state = self.server.board.state()
            yield b"data: %b\n\n" % state
            self.server.board.pause(INTERVAL_S)
            going = self.server.board.wait(number)

    def _send(self, kind: str, body: bytes) -> None:
        if not body:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "No picture yet")
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_on(self, kind: str, parts: Iterator[bytes]) -> None:
        if not self.server.viewers.acquire(blocking=False):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_VIEWERS} viewers look on already")
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Connection", "close")
            self.end_headers()
            for part in parts:
                self.wfile.write(part)
        finally:
            self.server.viewers.release()
