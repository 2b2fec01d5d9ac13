"""Servers on loopback that send redirects and playlists, and one that no client must reach."""

from __future__ import annotations

import contextlib
import io
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.source.endpoint import DuplexStream
from mjpeg_server import moving
from rtsp_server import SDP, RtspServer

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Answer:
    """What a path is answered with.

    sent: So many bytes of the body are sent before the connection ends; None: all of them. sized: whether the
    answer tells how long it is.
    """

    body: bytes = b""
    status: int = 200
    fields: Mapping[str, str] = field(default_factory=dict)
    ranges: bool = False
    sent: int | None = None
    sized: bool = True


class ThreadedServer(Closing):
    """A server whose thread runs inside a `with` block."""

    _thread: threading.Thread

    def __enter__(self) -> Self:
        self._thread.start()
        return self


class WebServer(ThreadedServer):
    """Answers by path, and remembers who asked for what. answers may be changed at any time."""

    def __init__(self, answers: Mapping[str, Answer] | None = None) -> None:
        self.answers = dict(answers or {})
        self.asked: list[str] = []
        self.heads: list[Mapping[str, str]] = []
        self.rule: Callable[[str, Mapping[str, str]], Answer | None] = lambda path, head: None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.heads.append(dict(self.headers))
                answer = server.rule(self.path, server.heads[-1]) or server.answers.get(self.path)
                with contextlib.suppress(OSError):
                    self.give(answer or Answer(status=404))

            def give(self, answer: Answer) -> None:
                body, status, fields = answer.body, answer.status, dict(answer.fields)
                part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if answer.ranges:
                    fields["Accept-Ranges"] = "bytes"
                if part and answer.ranges:
                    start, end = int(part[1]), int(part[2] or len(body) - 1)
                    fields["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
                    body, status = body[start : end + 1], 206
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                if answer.sized:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: answer.sent])

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def motion_jpeg(count: int = 8) -> Answer:
    """So many pictures, and then the end."""
    parts = b"".join(
        b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
        + picture
        + b"\r\n"
        for picture in map(moving, range(count))
    )
    return Answer(parts, fields={"Content-Type": "multipart/x-mixed-replace; boundary=frame"})


def redirect(target: str) -> Answer:
    return Answer(status=302, fields={"Location": target})


class Victim(ThreadedServer):
    """Counts who connects to its TCP port or sends to its UDP port, both of the same number."""

    def __init__(self) -> None:
        self.hits: list[bytes] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._tcp.getsockname()[1])
        self._tcp.settimeout(0.02)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(OSError):
                link, _ = self._tcp.accept()
                with link:
                    link.settimeout(0.2)
                    self.hits.append(b"connected")
                    self.hits.append(link.recv(200).split(b"\r\n")[0])

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._tcp.close()


class HostileRtspServer(RtspServer):
    """An RTSP camera that redirects, asks for a login, refuses, or describes its video as being elsewhere.

    status: of its answers to the method `status_at`. location: of a redirect, to be sent at `redirect_at`.
    sdp: its description. transport: of its SETUP. challenge: of a login, given to all who do not send
    `granted`.
    """

    location, redirect_at = "", "DESCRIBE"
    sdp, transport = SDP, "RTP/AVP/TCP;unicast;interleaved=0-1"
    challenge = ""
    status = status_at = ""

    def __init__(self) -> None:
        super().__init__(moving, 50.0)
        self.requests: list[tuple[str, dict[str, str]]] = []

    def _answer(self, viewer: socket.socket, requests: object) -> str:
        lines = []
        while (line := requests.readline().decode()).strip():  # type: ignore[attr-defined]
            lines.append(line.strip())
        if not lines:
            raise ConnectionError("the viewer has gone")
        head = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines[1:])}
        self.requests.append((lines[0], head))
        method, body, status = lines[0].split()[0], "", "200 OK"
        fields = {"CSeq": head["cseq"], "Session": "1"}
        if self.challenge and "authorization" not in head:
            status, fields["WWW-Authenticate"] = "401 Unauthorized", self.challenge
        elif self.location and method == self.redirect_at:
            status, fields["Location"] = "302 Found", self.location
        elif method == self.status_at:
            status = self.status
        elif method == "DESCRIBE":
            body = self.sdp
            fields |= {"Content-Type": "application/sdp", "Content-Length": str(len(body))}
        elif method == "SETUP":
            fields["Transport"] = self.transport
        head_text = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        viewer.sendall(f"RTSP/1.0 {status}\r\n{head_text}\r\n{body}".encode())
        return method if status.startswith("200") else ""


def own_certificate(path: Path) -> ssl.SSLContext:
    """For a server that signed its own certificate, as cameras do."""
    x509 = pytest.importorskip("cryptography.x509", reason="needs the sign extra")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


class TlsFront(ThreadedServer):
    """TLS before a server of this module, for one connection."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self._context, self._behind = context, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def url(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}/video"

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            plain, _ = self._listener.accept()
            with (
                self._context.wrap_socket(plain, server_side=True) as viewer,
                socket.create_connection(("127.0.0.1", self._behind), 5) as server,
            ):
                stream = DuplexStream(viewer)
                back = threading.Thread(target=_copy, args=(server.recv, stream.sendall, viewer))
                back.start()
                _copy(io.BufferedReader(stream).read1, server.sendall, server)
                back.join()

    def close(self) -> None:
        self._listener.close()
        self._thread.join()


def _copy(receive: Callable[[int], bytes], send: Callable[[bytes], None], target: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := receive(1 << 16):
            send(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
