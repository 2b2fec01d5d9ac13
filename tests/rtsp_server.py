"""An RTSP server of motion JPEG on loopback (RFC 2326, RFC 2435), with the troubles of the HTTP one."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import threading
from typing import IO

from mjpeg_server import MjpegServer

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 26\r\na=control:track1\r\n"
)
CLOCK_RATE = 90_000
FRAGMENT = 1400


class RtspServer(MjpegServer):
    """RTP travels between the RTSP messages of the one connection, as cameras are asked to do."""

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/video"

    def _serve(self, viewer: socket.socket, gone: threading.Event) -> None:
        viewer.settimeout(5)
        with viewer, contextlib.suppress(OSError):
            if self.mute:
                gone.wait()
                return
            with viewer.makefile("rb") as requests:
                while self._answer(viewer, requests) != "PLAY":
                    continue
            self._play(viewer, gone)

    def _answer(self, viewer: socket.socket, requests: IO[bytes]) -> str:
        """Answer one request, and return its method."""
        head = ""
        while (line := requests.readline().decode()).strip():
            head += line
        number = re.search(r"CSeq: *(\d+)", head, re.IGNORECASE)
        if number is None:
            raise ConnectionError("the viewer has gone")
        method = head.split()[0]
        body = SDP if method == "DESCRIBE" else ""
        about = f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n"
        fields = {
            "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n",
            "DESCRIBE": f"Content-Base: {self.url}/\r\n{about}",
            "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        }.get(method, "")
        answer = f"RTSP/1.0 200 OK\r\nCSeq: {number[1]}\r\nSession: 1\r\n{fields}\r\n{body}"
        viewer.sendall(answer.encode())
        return method

    def _play(self, viewer: socket.socket, gone: threading.Event) -> None:
        numbers = itertools.count()
        sent = 0
        while not gone.wait(1 / self.fps):
            if self.silent:
                continue
            self.number += not self.frozen
            sent += 1
            for packet in packets(self.picture(self.number), round(sent * CLOCK_RATE / self.fps), numbers):
                viewer.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)


def packets(jpeg: bytes, timestamp: int, numbers: itertools.count[int]) -> list[bytes]:
    """The RTP packets of one baseline picture with 4:2:0 colour."""
    tables, width, height, scan = parts(jpeg)
    made = []
    for offset in range(0, len(scan), FRAGMENT):
        last = offset + FRAGMENT >= len(scan)
        rtp = struct.pack(">BBHII", 0x80, 26 | last << 7, next(numbers) & 0xFFFF, timestamp, 1)
        head = struct.pack(">IBBBB", offset, 1, 255, width // 8, height // 8)
        quantization = struct.pack(">HH", 0, len(tables)) + tables if offset == 0 else b""
        made.append(rtp + head + quantization + scan[offset : offset + FRAGMENT])
    return made


def parts(jpeg: bytes) -> tuple[bytes, int, int, bytes]:
    """Quantization tables, width, height and the data of the scan."""
    tables, width, height, at = b"", 0, 0, 2
    while True:
        marker, size = struct.unpack_from(">HH", jpeg, at)
        body = jpeg[at + 4 : at + 2 + size]
        if marker == 0xFFDB:
            tables += b"".join(body[start + 1 : start + 65] for start in range(0, len(body), 65))
        if marker == 0xFFC0:
            height, width = struct.unpack_from(">HH", body, 1)
        at += 2 + size
        if marker == 0xFFDA:
            return tables, width, height, jpeg[at:-2]
