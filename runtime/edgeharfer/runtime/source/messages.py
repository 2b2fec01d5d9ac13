"""Reader processes, and their messages to the parent process over a socket pair.

Each message is a header of fixed size and a payload: the pixels of a frame, or a JSON text. A frame is sent
in the form in which it was decoded, BGR or planes (see `yuv`), which are half as large. Sizes in a header are
checked before memory is allocated, because the reader process handles untrusted data.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgeharfer.runtime.picture import BgrPicture, Picture
from edgeharfer.runtime.source.image_format import MAX_MEGAPIXELS
from edgeharfer.runtime.source.yuv import YuvLayout, YuvPicture

# Type; columns and rows of the picture, or bytes of the text; columns and rows of the colour planes, colour
# matrix, full range; frame number; monotonic time; presentation time.
_HEADER = struct.Struct("<4sIIIIB?Qdd")
_BGR, _YUV, _TEXT = b"BGR ", b"YUV ", b"TEXT"
_MAX_TEXT = 64 * 1024
# The rest of a message arrives at once, unless its sender was stopped while sending.
_MESSAGE_TIMEOUT_S = 5.0


class ConnectionLost(Exception):
    """The peer closed the connection or sent an invalid message."""


class Reader(Protocol):
    """A reader process and the socket to it.

    Attributes:
        pid: Process ID.
        sock: Receives requests, and sends messages.
    """

    @property
    def pid(self) -> int: ...

    @property
    def sock(self) -> socket.socket: ...

    def end(self) -> int | None:
        """Close the socket and end the process.

        Returns:
            The exit code, negative for a signal; None if it is unknown.
        """


@dataclass(frozen=True, eq=False)
class FrameMessage:
    """A frame.

    Attributes:
        seq: Frame number.
        captured_s: Monotonic system time in seconds, which all processes of a machine share.
        pts_s: Presentation time in seconds since the first frame of the source.
        picture: The picture.
    """

    seq: int
    captured_s: float
    pts_s: float
    picture: Picture


@dataclass(frozen=True)
class StatusMessage:
    """A status change: {"opened": {...}}, {"failed": text, "kind": name} or {"ended": {...}}."""

    content: dict[str, Any]


Message = FrameMessage | StatusMessage


def send(sock: socket.socket, message: Message) -> None:
    """Send one message; blocks until the peer has room for it.

    Raises:
        ConnectionLost: The peer closed the connection.
    """
    header, payload = _encode_frame(message) if isinstance(message, FrameMessage) else _encode_text(message)
    try:
        sock.sendall(header)
        sock.sendall(payload)
    except OSError as error:
        raise ConnectionLost(error.strerror or "failed") from error


def _encode_frame(message: FrameMessage) -> tuple[bytes, memoryview]:
    times = message.seq, message.captured_s, message.pts_s
    width, height = message.picture.size
    if isinstance(message.picture, YuvPicture):
        layout = message.picture.layout
        colors = layout.chroma_width, layout.chroma_height, layout.matrix, layout.full_range
        return _HEADER.pack(_YUV, width, height, *colors, *times), message.picture.data.data
    pixels = np.ascontiguousarray(message.picture.bgr).data.cast("B")
    return _HEADER.pack(_BGR, width, height, 0, 0, 0, False, *times), pixels


def _encode_text(message: StatusMessage) -> tuple[bytes, memoryview]:
    text = json.dumps(message.content).encode("ascii")
    return _HEADER.pack(_TEXT, len(text), 0, 0, 0, 0, False, 0, 0.0, 0.0), memoryview(text)


def receive(sock: socket.socket, timeout_s: float) -> Message | None:
    """Receive the next message.

    Args:
        sock: Socket of the reader process.
        timeout_s: Maximum time to wait for the start of a message, in seconds.

    Returns:
        The message, or None after the timeout.

    Raises:
        ConnectionLost: The connection was closed, or the message is incomplete or invalid.
    """
    header = bytearray(_HEADER.size)
    sock.settimeout(max(timeout_s, 1e-3))  # 0 would make the socket non-blocking
    try:
        got = _receive(sock, memoryview(header))
    except TimeoutError:
        return None
    sock.settimeout(_MESSAGE_TIMEOUT_S)
    _receive_exactly(sock, memoryview(header)[got:])
    kind, width, height, *colors, seq, captured_s, pts_s = _HEADER.unpack(header)
    if kind == _BGR:
        return FrameMessage(seq, captured_s, pts_s, _receive_bgr(sock, width, height))
    if kind == _YUV:
        picture = _receive_yuv(sock, YuvLayout(width, height, *colors))
        return FrameMessage(seq, captured_s, pts_s, picture)
    if kind == _TEXT:
        return StatusMessage(_content(sock, width))
    raise ConnectionLost("sent an unknown message type")


def _receive_bgr(sock: socket.socket, width: int, height: int) -> Picture:
    _check_size(width, height)
    bgr = np.empty((height, width, 3), np.uint8)
    _receive_exactly(sock, bgr.data.cast("B"))
    return BgrPicture(bgr)


def _receive_yuv(sock: socket.socket, layout: YuvLayout) -> Picture:
    _check_size(layout.width, layout.height)
    if not layout.valid:
        raise ConnectionLost(f"sent planes of invalid sizes: {layout}")
    data = np.empty(layout.size_bytes, np.uint8)
    _receive_exactly(sock, data.data)
    return YuvPicture(layout, data)


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_MEGAPIXELS * 1_000_000:
        raise ConnectionLost(f"sent a frame of invalid size {width}x{height}")


def _content(sock: socket.socket, size: int) -> dict[str, Any]:
    if size > _MAX_TEXT:
        raise ConnectionLost(f"sent a text of {size} bytes, over the limit of {_MAX_TEXT}")
    text = bytearray(size)
    _receive_exactly(sock, memoryview(text))
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConnectionLost("sent invalid JSON") from error
    if not isinstance(content, dict):
        raise ConnectionLost("sent JSON that is not an object")
    return content


def _receive_exactly(sock: socket.socket, buffer: memoryview) -> None:
    while buffer:
        try:
            buffer = buffer[_receive(sock, buffer) :]
        except TimeoutError as error:
            raise ConnectionLost("stopped in the middle of a message") from error


def _receive(sock: socket.socket, buffer: memoryview) -> int:
    try:
        got = sock.recv_into(buffer)
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectionLost(error.strerror or "failed") from error
    if not got:
        raise ConnectionLost("ended")
    return got
