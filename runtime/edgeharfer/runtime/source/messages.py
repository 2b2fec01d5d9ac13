"""Messages from a reader process to its parent process, over a socket pair.

Each message is a header of fixed size and a payload: the pixels of a frame, or a JSON text. Sizes in a header
are checked before memory is allocated, because the reader process handles untrusted data.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeharfer.runtime.source.decode import MAX_MEGAPIXELS
from edgeharfer.runtime.types import Image

# Type, rows of the frame or bytes of the text, columns, frame number, timestamp.
_HEADER = struct.Struct("<4sIIQd")
_FRAME, _TEXT = b"PICT", b"TEXT"
_MAX_TEXT = 64 * 1024
# The rest of a message arrives at once, unless its sender was stopped while sending.
_MESSAGE_TIMEOUT_S = 5.0


class ConnectionLost(Exception):
    """The peer closed the connection or sent an invalid message."""


@dataclass(frozen=True, eq=False)
class FrameMessage:
    """A frame.

    Attributes:
        seq: Frame number.
        captured_s: Monotonic system time in seconds, which all processes of a machine share.
        bgr: uint8 array of shape (height, width, 3).
    """

    seq: int
    captured_s: float
    bgr: Image


@dataclass(frozen=True)
class StatusMessage:
    """A status change: {"opened": {...}}, {"failed": text, "kind": name} or {"ended": true}."""

    content: dict[str, Any]


Message = FrameMessage | StatusMessage


def send(sock: socket.socket, message: Message) -> None:
    """Send one message; blocks until the peer has room for it.

    Raises:
        ConnectionLost: The peer closed the connection.
    """
    if isinstance(message, FrameMessage):
        rows, columns = message.bgr.shape[:2]
        header = _HEADER.pack(_FRAME, rows, columns, message.seq, message.captured_s)
        payload = np.ascontiguousarray(message.bgr).data.cast("B")
    else:
        payload = memoryview(json.dumps(message.content).encode("ascii"))
        header = _HEADER.pack(_TEXT, len(payload), 0, 0, 0.0)
    try:
        sock.sendall(header)
        sock.sendall(payload)
    except OSError as error:
        raise ConnectionLost(error.strerror or "failed") from error


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
    kind, size, columns, seq, captured_s = _HEADER.unpack(header)
    if kind == _FRAME:
        return FrameMessage(seq, captured_s, _pixels(sock, size, columns))
    if kind == _TEXT:
        return StatusMessage(_content(sock, size))
    raise ConnectionLost("sent an unknown message type")


def _pixels(sock: socket.socket, rows: int, columns: int) -> Image:
    if not 0 < rows * columns <= MAX_MEGAPIXELS * 1_000_000:
        raise ConnectionLost(f"sent a frame of invalid size {columns}x{rows}")
    bgr = np.empty((rows, columns, 3), np.uint8)
    _receive_exactly(sock, bgr.data.cast("B"))
    return bgr


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
