"""A relay between FFmpeg and an RTSP camera (RFC 2326), so that FFmpeg connects to no other server.

FFmpeg follows redirects of an RTSP server to any host. Instead it opens the URL of this relay on the loopback
interface, and the relay connects to the camera: it inserts the camera's address into the requests,
authenticates, and refuses redirects to other servers. Responses are rebuilt from their parsed parts, without
the fields that would make FFmpeg connect or authenticate elsewhere. Video and audio are interleaved in the
same connection (RFC 2326, 10.12), so that no other port is opened.
"""

from __future__ import annotations

import io
import re
import secrets
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.address import Address, parse_address, redact
from edgeharfer.runtime.source.credentials import Login
from edgeharfer.runtime.source.endpoint import (
    Connection,
    Deadline,
    DuplexStream,
    Endpoint,
    status_error,
    unreachable_error,
)

LOOPBACK = "127.0.0.1"
_MAX_LINE, _MAX_FIELDS, _MAX_BODY = 4096, 64, 1 << 18
_MAX_REDIRECTS, _MAX_AUTH_ATTEMPTS = 5, 2
_INTERLEAVED = b"$"
_STATUS = re.compile(r"RTSP/[0-9.]+ +([0-9]{3})")
_DROPPED_FIELDS = frozenset(
    {"location", "www-authenticate", "proxy-authenticate", "authentication-info", "cseq", "content-length"}
)


@dataclass
class _Message:
    """A request or response. fields: names in lower case."""

    start_line: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    redirects: int = 0
    logins: int = 0

    def get(self, name: str) -> str:
        return next((value for key, value in self.fields if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]


class _ConnectionEnded(Exception):
    """FFmpeg or the camera closed the connection or sent invalid RTSP."""


class RtspRelay:
    """A relay for one connection of FFmpeg. Close it after the capture.

    Attributes:
        url: URL for FFmpeg to open.
        error: Why the camera could not be used, None if there was no error.
    """

    def __init__(self, address: Address, name: str, deadline: Deadline, *, follow_redirects: bool) -> None:
        """Listen on the loopback interface; the camera is contacted once FFmpeg connects.

        Args:
            address: Address of the camera, with credentials if any.
            name: Name of the stream in error messages.
            deadline: Deadline for connecting.
            follow_redirects: Whether redirects to other servers are followed.

        Raises:
            SourceError: No local port is free.
        """
        self.error: SourceError | None = None
        self._name, self._deadline, self._follow_redirects = name, deadline, follow_redirects
        self._first = self._address = address
        self._login = None if address.user is None else Login(address.user, address.password or "")
        try:
            self._listener = socket.create_server((LOOPBACK, 0), backlog=1)
        except OSError as error:
            raise SourceError(f"{name}: cannot listen on a local port: {error.strerror}") from error
        # The secret keeps other programs of this machine from using the relay.
        prefix = f"rtsp://{LOOPBACK}:{self._listener.getsockname()[1]}/{secrets.token_hex(16)}"
        self._prefix, self.url = prefix, prefix + address.target
        self._lock, self._send_lock = threading.Lock(), threading.Lock()
        self._closed = self._ending = self._answered = self._playing = False
        self._player: socket.socket | None = None
        self._camera: Connection | None = None
        self._camera_stream: DuplexStream | None = None
        self._camera_input: io.BufferedReader | None = None
        self._pending: dict[str, tuple[str, _Message]] = {}
        self._count = 0
        self._threads = [threading.Thread(target=self._serve, name="rtsp relay")]
        self._threads[0].start()

    def close(self) -> None:
        """End both connections and wait for the threads."""
        with self._lock:
            self._closed = self._ending = True
            sockets = (self._listener, self._player, self._camera)
        for one in sockets:
            if one is not None:
                _close_socket(one)
        while self._threads:
            self._threads.pop().join()

    # From FFmpeg to the camera.

    def _serve(self) -> None:
        try:
            player, requests, first = self._accept()
            with player, requests:
                self._connect()
                self._start_thread(self._response_loop)
                self._forward(first)
                self._request_loop(requests)
            if not self._answered:
                raise unreachable_error(self._name, TimeoutError())
        except (_ConnectionEnded, OSError, SourceError) as error:
            if isinstance(error, SourceError):
                self.error = self.error or error
        finally:
            self._ending = True
            self._close_sockets()

    def _accept(self) -> tuple[socket.socket, io.BufferedReader, _Message]:
        """Accept the connection whose request contains the secret of the URL; close all others."""
        with self._listener:
            while True:
                self._listener.settimeout(self._deadline.remaining_s())
                player, _ = self._listener.accept()
                player.settimeout(self._deadline.remaining_s())
                requests = player.makefile("rb")
                with suppress(_ConnectionEnded, OSError):
                    interleaved = requests.peek(1)[:1] == _INTERLEAVED
                    if not interleaved and self._prefix in (first := _read_message(requests)).start_line:
                        player.settimeout(None)
                        with self._lock:
                            self._player = player
                        return player, requests, first
                requests.close()
                player.close()

    def _request_loop(self, requests: io.BufferedReader) -> None:
        while True:
            if (kind := requests.read(1)) == _INTERLEAVED:
                self._send(kind + _read_packet(requests))  # RTCP
            elif not kind:
                return
            else:
                self._forward(_read_message(requests, kind))

    def _forward(self, request: _Message) -> None:
        """Forward a request to the camera under the relay's own sequence number."""
        with self._lock:
            self._count += 1
            number = str(self._count)
            self._pending[number] = request.get("cseq"), request
            while len(self._pending) > _MAX_FIELDS:
                self._pending.pop(next(iter(self._pending)))
        method, _, rest = request.start_line.partition(" ")
        uri = self._camera_uri(rest.rpartition(" ")[0])
        fields = [(key, value) for key, value in request.fields if key not in ("cseq", "authorization")]
        fields.append(("cseq", number))
        if self._may_authenticate() and (value := self._login and self._login.authorize(method, uri)):
            fields.append(("authorization", value))
        self._send(_serialize(f"{method} {uri} RTSP/1.0", fields, request.body))

    def _may_authenticate(self) -> bool:
        return self._address.origin == self._first.origin

    def _camera_uri(self, uri: str) -> str:
        if not uri.startswith(self._prefix):
            return uri  # from the camera's session description
        rest = uri.removeprefix(self._prefix)
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        origin = f"{self._address.scheme}://{host}:{self._address.port}"
        if rest.startswith(self._first.target):
            rest = self._address.target + rest.removeprefix(self._first.target)
        return origin + rest

    # From the camera to FFmpeg.

    def _response_loop(self) -> None:
        try:
            while True:
                incoming = self._camera_input
                assert incoming is not None and self._player is not None
                if (kind := incoming.read(1)) == _INTERLEAVED:
                    self._player.sendall(kind + _read_packet(incoming))
                elif not kind:
                    raise _ConnectionEnded
                elif kind not in b"\r\n":
                    self._handle_response(_read_message(incoming, kind))
        except (_ConnectionEnded, OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                self.error = self.error or unreachable_error(self._name, error)
            elif not self._answered and not self._ending:
                self.error = self.error or SourceError(
                    f"{self._name}: no video received: invalid RTSP response: check the port, and whether "
                    "the address should start with http://"
                )
        except SourceError as error:
            self.error = self.error or error
        finally:
            self._close_sockets()
            if self._camera_input is not None:
                self._camera_input.close()

    def _handle_response(self, response: _Message) -> None:
        status = _STATUS.match(response.start_line)
        if status is None:
            self._answer_camera(response)
            return
        self._answered = True
        with self._lock:
            number, request = self._pending.pop(response.get("cseq"), ("", None))
        if request is None:
            return  # a response to no pending request
        code = int(status[1])
        if 300 <= code < 400:
            self._redirect(response, request)
        elif code == 401 and self._accept_challenge(response, request):
            self._forward(request)
        else:
            self._playing = self._playing or (code == 200 and request.start_line.startswith("PLAY "))
            if code >= 400 and not self._playing:
                self.error = status_error(self._name, code, credentials=self._login is not None)
            fields = [(key, value) for key, value in response.fields if key not in _DROPPED_FIELDS]
            assert self._player is not None
            self._player.sendall(_serialize(f"RTSP/1.0 {code} -", [*fields, ("cseq", number)], response.body))

    def _accept_challenge(self, response: _Message, request: _Message) -> bool:
        if self._login is None or not self._may_authenticate() or request.logins >= _MAX_AUTH_ATTEMPTS:
            return False
        request.logins += 1
        return self._login.accept_challenge(response.all("www-authenticate"))

    def _redirect(self, response: _Message, request: _Message) -> None:
        """Connect to the redirect target. Raises SourceError where that is not allowed."""
        target = response.get("location")
        address = parse_address(target) if target.lower().startswith(("rtsp://", "rtsps://")) else None
        request.redirects += 1
        if address is None or request.redirects > _MAX_REDIRECTS:
            raise SourceError(f"{self._name}: redirects to {redact(target)[:200]}: not followed")
        if address.origin != self._first.origin and not self._follow_redirects:
            raise SourceError(
                f"{self._name}: redirects to {redact(address.url)}: not followed because it is another "
                "server; use that address, or add --follow-redirects"
            )
        self._address = address
        self._connect()
        self._forward(request)

    def _answer_camera(self, request: _Message) -> None:
        """Respond to a request of the camera: keep-alive requests are accepted, all others rejected."""
        alive = request.start_line.startswith(("OPTIONS ", "GET_PARAMETER "))
        start_line = "RTSP/1.0 200 OK" if alive else "RTSP/1.0 501 Not Implemented"
        self._send(_serialize(start_line, [("cseq", request.get("cseq"))], b""))

    # Both directions.

    def _connect(self) -> None:
        """Connect to the camera, replacing an existing connection. Raises SourceError."""
        try:
            camera = Endpoint(self._address).connect(self._deadline)
        except (OSError, ValueError) as error:
            raise unreachable_error(self._name, error) from None
        stream = DuplexStream(camera.sock)  # without a deadline: FFmpeg's own timeouts apply from here on
        with self._lock:
            before, self._camera = self._camera, camera
            input_before, self._camera_input = self._camera_input, io.BufferedReader(stream)
            self._camera_stream = stream
            closed = self._closed
        if before is not None and input_before is not None:
            before.close()
            input_before.close()
        if closed:
            camera.close()

    def _send(self, data: bytes) -> None:
        stream = self._camera_stream
        if stream is None:
            raise _ConnectionEnded
        with self._send_lock:
            stream.sendall(data)

    def _start_thread(self, target: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, name="rtsp relay")
        self._threads.append(thread)
        thread.start()

    def _close_sockets(self) -> None:
        for one in (self._player, self._camera):
            if one is not None:
                _close_socket(one)


def _read_message(incoming: io.BufferedReader, beginning: bytes = b"") -> _Message:
    """Read a request or response, whose first byte may have been read. Raises _ConnectionEnded."""
    message = _Message(_read_line(incoming, beginning))
    while line := _read_line(incoming):
        key, _, value = line.partition(":")
        message.fields.append((key.strip().lower(), value.strip()))
        if len(message.fields) > _MAX_FIELDS:
            raise _ConnectionEnded
    length = message.get("content-length") or "0"
    if not length.isdecimal() or int(length) > _MAX_BODY:
        raise _ConnectionEnded
    message.body = _read_exactly(incoming, int(length))
    return message


def _read_line(incoming: io.BufferedReader, beginning: bytes = b"") -> str:
    line = beginning + incoming.readline(_MAX_LINE)
    if not line.endswith(b"\n"):
        raise _ConnectionEnded
    text = line.decode("latin-1")
    # Control characters are removed, so that FFmpeg cannot see them as the start of another line.
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", text)


def _read_packet(incoming: io.BufferedReader) -> bytes:
    """Read the rest of an interleaved packet (RFC 2326, 10.12)."""
    head = _read_exactly(incoming, 3)
    return head + _read_exactly(incoming, int.from_bytes(head[1:], "big"))


def _read_exactly(incoming: io.BufferedReader, count: int) -> bytes:
    data = incoming.read(count)
    if len(data) != count:
        raise _ConnectionEnded
    return data


def _serialize(start_line: str, fields: Iterable[tuple[str, str]], body: bytes) -> bytes:
    named = [(key, value) for key, value in fields if key != "content-length"]
    if body:
        named.append(("content-length", str(len(body))))
    lines = [start_line, *(f"{_field_name(key)}: {value}" for key, value in named), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body


def _field_name(key: str) -> str:
    return {"cseq": "CSeq", "rtp-info": "RTP-Info"}.get(key) or key.title()


def _close_socket(one: socket.socket | Connection) -> None:
    sock = one.sock if isinstance(one, Connection) else one
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        sock.close()
