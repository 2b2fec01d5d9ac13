"""Stands between FFmpeg and an RTSP camera (RFC 2326), so that FFmpeg connects to nothing else.

FFmpeg follows redirects of an RTSP server to any host by itself. It is given the address of this relay on
the loopback interface instead, and the relay connects to the camera: it puts the camera's address into the
requests, logs in, and refuses redirects to other servers. Answers are written again from their parsed
parts, without the fields that make FFmpeg connect or log in elsewhere. Video and audio come through the same
connection (RFC 2326, 10.12), so that no other port is opened.
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
from edgeharfer.runtime.source.endpoint import Connection, Deadline, Endpoint, unreachable

LOOPBACK = "127.0.0.1"
_MAX_LINE, _MAX_FIELDS, _MAX_BODY = 4096, 64, 1 << 18
_MAX_REDIRECTS, _MAX_LOGINS = 5, 2
_FRAME = b"$"
_STATUS = re.compile(r"RTSP/[0-9.]+ +([0-9]{3})")
_WITHHELD = frozenset(
    {"location", "www-authenticate", "proxy-authenticate", "authentication-info", "cseq", "content-length"}
)


@dataclass
class _Message:
    """A request or an answer. fields: names in lower case."""

    start: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    redirects: int = 0
    logins: int = 0

    def get(self, name: str) -> str:
        return next((value for key, value in self.fields if key == name), "")

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]


class _End(Exception):
    """One of the two sides has gone, or sends something else than RTSP."""


class RtspRelay:
    """One relay for one connection of FFmpeg. Close it after the capture.

    url: what FFmpeg is to open. error: why the camera could not be reached or was refused, if so.
    """

    def __init__(self, address: Address, name: str, deadline: Deadline, *, follow_redirects: bool) -> None:
        """Raises SourceError where no port of the loopback interface is free."""
        self.error: SourceError | None = None
        self._name, self._deadline, self._follow = name, deadline, follow_redirects
        self._first = self._address = address
        self._login = None if address.user is None else Login(address.user, address.password or "")
        try:
            self._listener = socket.create_server((LOOPBACK, 0), backlog=1)
        except OSError as error:
            raise SourceError(f"{name}: no port of this machine is free: {error.strerror}") from error
        # Other programs of this machine must not get at the camera through the relay.
        prefix = f"rtsp://{LOOPBACK}:{self._listener.getsockname()[1]}/{secrets.token_hex(16)}"
        self._prefix, self.url = prefix, prefix + address.target
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._closed = self._playing = False
        self._player: socket.socket | None = None
        self._camera: Connection | None = None
        self._camera_input: io.BufferedReader | None = None
        self._pending: dict[str, tuple[str, _Message]] = {}
        self._count = 0
        self._threads = [threading.Thread(target=self._serve, name="rtsp relay")]
        self._threads[0].start()

    def close(self) -> None:
        """End both connections and wait for the threads."""
        with self._lock:
            self._closed = True
            sockets = (self._listener, self._player, self._camera)
        for one in sockets:
            if one is not None:
                _shut(one)
        while self._threads:
            self._threads.pop().join()

    # From FFmpeg to the camera.

    def _serve(self) -> None:
        try:
            player, requests, first = self._accept()
            with player, requests:
                self._connect()
                self._start(self._answer)
                self._forward(first)
                self._request_loop(requests)
        except (_End, OSError, SourceError) as error:
            if isinstance(error, SourceError):
                self.error = self.error or error
        finally:
            self._shut_all()

    def _accept(self) -> tuple[socket.socket, io.BufferedReader, _Message]:
        """The connection whose request names the secret part of the address; all others are closed."""
        with self._listener:
            while True:
                self._listener.settimeout(self._deadline.left_s())
                player, _ = self._listener.accept()
                player.settimeout(self._deadline.left_s())
                requests = player.makefile("rb")
                with suppress(_End, OSError):
                    if requests.peek(1)[:1] != _FRAME and self._prefix in (first := _read(requests)).start:
                        player.settimeout(None)
                        with self._lock:
                            self._player = player
                        return player, requests, first
                requests.close()
                player.close()

    def _request_loop(self, requests: io.BufferedReader) -> None:
        while True:
            if (kind := requests.read(1)) == _FRAME:
                self._send(kind + _frame(requests))  # RTCP
            elif not kind:
                return
            else:
                self._forward(_read(requests, kind))

    def _forward(self, request: _Message) -> None:
        """Send a request on under a number of our own."""
        with self._lock:
            self._count += 1
            number = str(self._count)
            self._pending[number] = request.get("cseq"), request
            while len(self._pending) > _MAX_FIELDS:
                self._pending.pop(next(iter(self._pending)))
        method, _, rest = request.start.partition(" ")
        uri = self._to_camera(rest.rpartition(" ")[0])
        fields = [(key, value) for key, value in request.fields if key not in ("cseq", "authorization")]
        fields.append(("cseq", number))
        if self._may_log_in() and (value := self._login and self._login.authorize(method, uri)):
            fields.append(("authorization", value))
        self._send(_written(f"{method} {uri} RTSP/1.0", fields, request.body))

    def _may_log_in(self) -> bool:
        return self._address.origin == self._first.origin

    def _to_camera(self, uri: str) -> str:
        if not uri.startswith(self._prefix):
            return uri  # from the camera's own description
        rest = uri.removeprefix(self._prefix)
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        origin = f"{self._address.scheme}://{host}:{self._address.port}"
        if rest.startswith(self._first.target):
            rest = self._address.target + rest.removeprefix(self._first.target)
        return origin + rest

    # From the camera to FFmpeg.

    def _answer(self) -> None:
        try:
            while True:
                incoming = self._camera_input
                assert incoming is not None and self._player is not None
                if (kind := incoming.read(1)) == _FRAME:
                    self._player.sendall(kind + _frame(incoming))
                elif not kind:
                    raise _End
                elif kind not in b"\r\n":
                    self._take(_read(incoming, kind))
        except (_End, OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                self.error = self.error or unreachable(self._name, error)
        except SourceError as error:
            self.error = self.error or error
        finally:
            self._shut_all()
            if self._camera_input is not None:
                self._camera_input.close()

    def _take(self, answer: _Message) -> None:
        status = _STATUS.match(answer.start)
        if status is None:
            self._decline(answer)
            return
        with self._lock:
            number, request = self._pending.pop(answer.get("cseq"), ("", None))
        if request is None:
            return  # an answer that nobody waits for
        code = int(status[1])
        if 300 <= code < 400:
            self._redirect(answer, request)
        elif code == 401 and self._log_in(answer, request):
            self._forward(request)
        else:
            self._playing = self._playing or (code == 200 and request.start.startswith("PLAY "))
            if code >= 400 and not self._playing:
                self.error = self._refused(code)
            fields = [(key, value) for key, value in answer.fields if key not in _WITHHELD]
            assert self._player is not None
            self._player.sendall(_written(f"RTSP/1.0 {code} -", [*fields, ("cseq", number)], answer.body))

    def _log_in(self, answer: _Message, request: _Message) -> bool:
        if self._login is None or not self._may_log_in() or request.logins >= _MAX_LOGINS:
            return False
        request.logins += 1
        return self._login.challenge(answer.all("www-authenticate"))

    def _refused(self, code: int) -> SourceError:
        if code == 401:
            return SourceError(
                f"{self._name}: refuses the login (401): give user and password, as user:password@host"
            )
        if code == 461:
            return SourceError(f"{self._name}: offers no video over TCP: switch that on in the camera")
        return SourceError(f"{self._name}: no video comes from it: it answers with status {code}")

    def _redirect(self, answer: _Message, request: _Message) -> None:
        """Ask the other address where that is allowed. Raises SourceError elsewhere."""
        target = answer.get("location")
        address = parse_address(target) if target.lower().startswith(("rtsp://", "rtsps://")) else None
        request.redirects += 1
        if address is None or request.redirects > _MAX_REDIRECTS:
            raise SourceError(f"{self._name}: redirects to {redact(target)[:200]}: not followed")
        if address.origin != self._first.origin and not self._follow:
            raise SourceError(
                f"{self._name}: redirects to {redact(address.url)}: not followed, since that is another "
                "server; give that address, or add --follow-redirects"
            )
        self._address = address
        self._connect()
        self._forward(request)

    def _decline(self, request: _Message) -> None:
        """A request of the camera: it may ask for a sign of life, and for nothing else."""
        alive = request.start.startswith(("OPTIONS ", "GET_PARAMETER "))
        start = "RTSP/1.0 200 OK" if alive else "RTSP/1.0 501 Not Implemented"
        self._send(_written(start, [("cseq", request.get("cseq"))], b""))

    # Both.

    def _connect(self) -> None:
        """Connect to the camera, in place of a connection that is there. Raises SourceError."""
        try:
            camera = Endpoint(self._address).connect(self._deadline)
        except (OSError, ValueError) as error:
            raise unreachable(self._name, error) from None
        camera.link.settimeout(None)  # FFmpeg's own limits hold from here on
        with self._lock:
            before, self._camera = self._camera, camera
            input_before, self._camera_input = self._camera_input, camera.link.makefile("rb")
            closed = self._closed
        if before is not None and input_before is not None:
            before.close()
            input_before.close()
        if closed:
            camera.close()

    def _send(self, data: bytes) -> None:
        camera = self._camera
        if camera is None:
            raise _End
        with self._sending:
            camera.link.sendall(data)

    def _start(self, target: object) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, name="rtsp relay")
        self._threads.append(thread)
        thread.start()

    def _shut_all(self) -> None:
        for one in (self._player, self._camera):
            if one is not None:
                _shut(one)


def _read(incoming: io.BufferedReader, beginning: bytes = b"") -> _Message:
    """A request or answer, whose first byte may have been read. Raises _End."""
    message = _Message(_line(incoming, beginning))
    while line := _line(incoming):
        key, _, value = line.partition(":")
        message.fields.append((key.strip().lower(), value.strip()))
        if len(message.fields) > _MAX_FIELDS:
            raise _End
    length = message.get("content-length") or "0"
    if not length.isdecimal() or int(length) > _MAX_BODY:
        raise _End
    message.body = _exactly(incoming, int(length))
    return message


def _line(incoming: io.BufferedReader, beginning: bytes = b"") -> str:
    line = beginning + incoming.readline(_MAX_LINE)
    if not line.endswith(b"\n"):
        raise _End
    text = line.decode("latin-1")
    # As FFmpeg reads it, and nothing that begins another line there.
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", text)


def _frame(incoming: io.BufferedReader) -> bytes:
    """The rest of an interleaved packet."""
    head = _exactly(incoming, 3)
    return head + _exactly(incoming, int.from_bytes(head[1:], "big"))


def _exactly(incoming: io.BufferedReader, count: int) -> bytes:
    data = incoming.read(count)
    if len(data) != count:
        raise _End
    return data


def _written(start: str, fields: Iterable[tuple[str, str]], body: bytes) -> bytes:
    named = [(key, value) for key, value in fields if key != "content-length"]
    if body:
        named.append(("content-length", str(len(body))))
    lines = [start, *(f"{_field_name(key)}: {value}" for key, value in named), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body


def _field_name(key: str) -> str:
    return {"cseq": "CSeq", "rtp-info": "RTP-Info"}.get(key) or key.title()


def _shut(one: socket.socket | Connection) -> None:
    link = one.link if isinstance(one, Connection) else one
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        link.close()
