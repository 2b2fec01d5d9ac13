"""The HTTP server of the web view: for reading only, bounded, and sure to end."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RD, SHUT_RDWR, SO_SNDBUF, SOL_SOCKET
from socketserver import TCPServer
from typing import Any

from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.sinks.web_board import INTERVAL_S, Board

LOOPBACK = "127.0.0.1"
# Any other name is a foreign page's own, made to point here. The near end of a tunnel chooses its port.
LOCAL_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
MOST_CONNECTIONS, MOST_VIEWERS = 32, 8
SOCKET_TIMEOUT_S = 5.0
HEAD_S = 10.0  # for a whole request, so that nobody keeps a place by a letter now and then
# After so long a new connection may take the place of one whose request is incomplete, or whose answer is not
# read. Sooner would let a burst of connections cost the run more than refusing them does.
REPLACE_HEAD_S, REPLACE_ANSWER_S = 0.25, 1.0
GRACE_S = 0.5  # for viewers to read the last state before they are cut off
SEND_BUFFER_BYTES = 128 * 1024  # more would only make the pictures of a slow viewer older
PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n"
HEADERS = {
    "Allow": "GET",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# Of glibc's malloc.h. Each thread would else get a heap of its own, up to eight for a core, and each keeps
# what a picture took: forty rounds of eight viewers cost 78 MB, and with two heaps 1 MB.
M_ARENA_MAX, HEAPS = -8, 2

_log = logging.getLogger(__name__)


class Server(ThreadingHTTPServer):
    """Bounded in its connections, and sure to end: its threads are joined, stalled viewers are cut off.

    When all places are taken, a new connection replaces the one whose request has been incomplete for
    longest, or else the one that has not read its answer for longest. Streams have places of their own.
    """

    daemon_threads = False
    block_on_close = True
    allow_reuse_address = os.name == "posix"  # elsewhere it would let two programs share the port
    allow_reuse_port = False
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, address: tuple[str, int], board: Board) -> None:
        self.board = board
        self.page = Path(__file__).with_name("web_page.html").read_text(encoding="utf-8")
        self.headers = {**HEADERS, "Content-Security-Policy": _content_policy(self.page)}
        self.viewers = threading.BoundedSemaphore(MOST_VIEWERS)
        self._clock = SystemClock()
        self._open: set[Any] = set()
        self._heads: dict[Any, float] = {}  # the requests that are coming in, and since when
        self._answers: dict[Any, float] = {}  # the answers that are going out, streams apart, and since when
        self._replaced: set[Any] = set()  # cut off; their threads are about to end
        self._left = threading.Condition()
        share_heaps()
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER_BYTES)
        TCPServer.server_bind(self)  # HTTPServer's own would look this machine up in the DNS
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._left:
            free = len(self._open) - len(self._replaced) < MOST_CONNECTIONS
            accepted = free or self._replace_one()
            if accepted:
                self._open.add(request)
        return accepted

    def shutdown_request(self, request: Any) -> None:
        with self._left:
            for held in (self._open, self._replaced):
                held.discard(request)
            for phase in (self._heads, self._answers):
                phase.pop(request, None)
            self._left.notify_all()
        super().shutdown_request(request)

    def head_begins(self, request: Any) -> None:
        """A connection is new, or was answered: it may send a request now."""
        with self._left:
            self._answers.pop(request, None)
            self._heads[request] = self._clock.monotonic()

    def head_came(self, request: Any) -> None:
        """The request is here."""
        with self._left:
            self._heads.pop(request, None)
            self._answers[request] = self._clock.monotonic()

    def stream_begins(self, request: Any) -> None:
        """The answer is a stream, which has no end."""
        with self._left:
            self._answers.pop(request, None)

    def service_actions(self) -> None:
        """Called by the server's own loop: whose request does not come to its end is cut off."""
        with self._left:
            self._cut(self._older(self._heads, HEAD_S), SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR  # viewers may leave any time
        _log.log(level, "web view: an answer broke off: %r", error)

    def end(self) -> None:
        self.shutdown()
        with self._left:
            self._cut(self._open, SHUT_RD)  # idle ones go by themselves
            self._left.wait_for(lambda: not self._open, GRACE_S)
            self._cut(self._open, SHUT_RDWR)
        self.server_close()

    def _replace_one(self) -> bool:
        """Cut off the connection that has kept the server waiting for longest; False where none has."""
        if len(self._open) >= 2 * MOST_CONNECTIONS:  # threads of earlier ones have not ended yet
            return False
        waiting = [
            *self._older(self._heads, REPLACE_HEAD_S),
            *self._older(self._answers, REPLACE_ANSWER_S),
        ]
        longest = next((one for one in waiting if one not in self._replaced), None)
        if longest is None:
            return False
        self._replaced.add(longest)
        self._cut([longest], SHUT_RDWR)
        return True

    def _older(self, phase: dict[Any, float], age_s: float) -> list[Any]:
        """The connections that have been in a phase for so long, the longest first."""
        late_s = self._clock.monotonic() - age_s
        return [request for request, since_s in phase.items() if since_s < late_s]

    def _cut(self, requests: Iterable[Any], how: int) -> None:
        for request in requests:
            with contextlib.suppress(OSError):  # the other side was faster
                request.shutdown(how)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    timeout = SOCKET_TIMEOUT_S
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_version, sys_version = "edgeharfer", ""
    error_content_type, error_message_format = "text/plain", "%(code)d %(message)s\n"

    def handle_one_request(self) -> None:
        self.server.head_begins(self.connection)
        super().handle_one_request()

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.server.head_came(self.connection)
        refusal = self._refusal()
        if refusal is not None:
            self.send_error(refusal)
        return refusal is None

    def _refusal(self) -> HTTPStatus | None:
        """Why not to answer. Browsers tell which page a request comes from."""
        hosts, asked = self.headers.get_all("Host", []), self.headers.get
        if len(hosts) != 1 or not LOCAL_HOST.fullmatch(hosts[0]):
            return HTTPStatus.FORBIDDEN
        own = f"http://{hosts[0]}"
        if asked("Origin", own) != own or asked("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return HTTPStatus.FORBIDDEN
        if self.command != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED
        if "Transfer-Encoding" in self.headers or asked("Content-Length", "0") != "0":
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return None

    def handle_expect_100(self) -> bool:
        return True  # no body is wanted

    def do_GET(self) -> None:
        board, path = self.server.board, self.path.partition("?")[0]
        if path == "/":
            self._answer("text/html; charset=utf-8", self.server.page.encode())
        elif path == "/state.json":
            self._answer("application/json", board.state()[1])
        elif path == "/frame.jpg":
            self._answer("image/jpeg", board.picture()[1])
        elif path == "/stream":
            self._keep_answering("multipart/x-mixed-replace; boundary=frame", self._pictures(board))
        elif path == "/events":
            self._keep_answering("text/event-stream", self._states(board))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _pictures(self, board: Board) -> Iterator[bytes]:
        last = False
        while not last:
            last = board.stopping  # looked at first, so that the newest picture still goes out
            number, jpeg = board.picture()
            yield PART % (len(jpeg), jpeg) if jpeg else b""
            board.wait(number)

    def _states(self, board: Board) -> Iterator[bytes]:
        last = False
        while not last:
            last = board.stopping
            number, state = board.state()
            yield b"data: %b\n\n" % state
            board.pause(INTERVAL_S)
            board.wait(number)

    def _answer(self, kind: str, body: bytes) -> None:
        if not body:
            return self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "no picture yet")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _keep_answering(self, kind: str, parts: Iterator[bytes]) -> None:
        if not self.server.viewers.acquire(blocking=False):
            return self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, f"{MOST_VIEWERS} viewers look on already")
        self.server.stream_begins(self.connection)
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", kind)
            self.send_header("Connection", "close")
            self.end_headers()
            for part in parts:
                self.wfile.write(part)
        finally:
            self.server.viewers.release()

    def end_headers(self) -> None:
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("web view: %r", format % args)


def share_heaps() -> None:
    """Viewers come and go in threads of their own; these are to allocate from the same few heaps."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library than glibc, which has no such heaps
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, HEAPS)


def _content_policy(page: str) -> str:
    """The page may use its own style and script and what this server gives; nothing else."""
    hashes = {}
    for tag in ("style", "script"):
        text = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        hashes[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "connect-src 'self'; img-src 'self' blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
