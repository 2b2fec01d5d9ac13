"""What a reader process says to the process that started it, over a socket of their own.

Each message is a header of fixed size and a payload: the pixels of a picture, or a text. The sizes that a
header claims are checked before anything is allocated, since the reader has handled bytes from outside.
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

# Kind, rows of the picture or bytes of the text, columns, number of the picture, its time.
_HEADER = struct.Struct("<4sIIQd")
_PICTURE, _TEXT = b"PICT", b"TEXT"
_MAX_TEXT = 64 * 1024
# A message that has begun comes whole, unless its sender was stopped in the midst of it.
_WHOLE_S = 5.0


class ConnectionLost(Exception):
    """The other side is gone, or talks nonsense."""


@dataclass(frozen=True, eq=False)
class FrameMessage:
    """A picture, uint8 BGR. `captured_s` is monotonic time, which the processes of a machine share."""

    seq: int
    captured_s: float
    bgr: Image


@dataclass(frozen=True)
class StatusMessage:
    """Anything else: {"opened": {...}}, {"failed": text, "kind": name} or {"ended": true}."""

    content: dict[str, Any]


Message = FrameMessage | StatusMessage


def send(link: socket.socket, message: Message) -> None:
    """Send one message; waits until the other side takes it. Raises ConnectionLost."""
    if isinstance(message, FrameMessage):
        rows, columns = message.bgr.shape[:2]
        header = _HEADER.pack(_PICTURE, rows, columns, message.seq, message.captured_s)
        payload = np.ascontiguousarray(message.bgr).data.cast("B")
    else:
        payload = memoryview(json.dumps(message.content).encode("ascii"))
        header = _HEADER.pack(_TEXT, len(payload), 0, 0, 0.0)
    try:
        link.sendall(header)
        link.sendall(payload)
    except OSError as error:
        raise ConnectionLost(error.strerror or "failed") from error


def receive(link: socket.socket, timeout_s: float) -> Message | None:
    """The next message, or None where none begins in time. Raises ConnectionLost."""
    header = bytearray(_HEADER.size)
    link.settimeout(max(timeout_s, 1e-3))  # 0 would mean something else
    try:
        got = _receive(link, memoryview(header))
    except TimeoutError:
        return None
    link.settimeout(_WHOLE_S)
    _fill(link, memoryview(header)[got:])
    kind, size, columns, seq, captured_s = _HEADER.unpack(header)
    if kind == _PICTURE:
        return FrameMessage(seq, captured_s, _pixels(link, size, columns))
    if kind == _TEXT:
        return StatusMessage(_content(link, size))
    raise ConnectionLost("sent what makes no sense")


def _pixels(link: socket.socket, rows: int, columns: int) -> Image:
    if not 0 < rows * columns <= MAX_MEGAPIXELS * 1_000_000:
        raise ConnectionLost(f"sent a picture of {columns}x{rows}")
    bgr = np.empty((rows, columns, 3), np.uint8)
    _fill(link, bgr.data.cast("B"))
    return bgr


def _content(link: socket.socket, size: int) -> dict[str, Any]:
    if size > _MAX_TEXT:
        raise ConnectionLost(f"sent a text of {size} bytes")
    text = bytearray(size)
    _fill(link, memoryview(text))
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConnectionLost("sent what makes no sense") from error
    if not isinstance(content, dict):
        raise ConnectionLost("sent what makes no sense")
    return content


def _fill(link: socket.socket, space: memoryview) -> None:
    while space:
        try:
            space = space[_receive(link, space) :]
        except TimeoutError as error:
            raise ConnectionLost("stopped in the midst of a message") from error


def _receive(link: socket.socket, space: memoryview) -> int:
    try:
        got = link.recv_into(space)
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectionLost(error.strerror or "failed") from error
    if not got:
        raise ConnectionLost("ended")
    return got
