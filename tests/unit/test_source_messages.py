"""What a reader process says: it arrives as it was said, and nonsense is refused before it costs anything."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from edgeharfer.runtime.picture import BgrPicture
from edgeharfer.runtime.source import messages
from edgeharfer.runtime.source.messages import ConnectionLost, FrameMessage, StatusMessage, receive, send
from edgeharfer.runtime.source.requests import OpenRequest, from_line, to_line
from edgeharfer.runtime.source.yuv import YuvLayout, YuvPicture

Link = tuple[socket.socket, socket.socket]


@pytest.fixture
def link() -> Iterator[Link]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def header(
    kind: bytes, width: int, height: int, chroma_width: int = 0, chroma_height: int = 0, matrix: int = 5
) -> bytes:
    sizes = width, height, chroma_width, chroma_height
    return struct.pack("<4sIIIIB?Qdd", kind, *sizes, matrix, False, 0, 0.0, 0.0)


def test_a_picture_arrives_as_it_was_sent(link: Link) -> None:
    bgr = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
    sender = threading.Thread(target=send, args=(link[1], FrameMessage(7, 12.5, 0.5, BgrPicture(bgr))))
    sender.start()
    got = receive(link[0], 20)
    sender.join()
    assert isinstance(got, FrameMessage)
    assert (got.seq, got.captured_s, got.pts_s) == (7, 12.5, 0.5)
    assert np.array_equal(got.picture.bgr, bgr)


@pytest.mark.parametrize("chroma", [(320, 240), (320, 480), (640, 480), (0, 0)])
def test_planes_arrive_as_they_were_sent(link: Link, chroma: tuple[int, int]) -> None:
    layout = YuvLayout(640, 480, *chroma, matrix=1, full_range=True)
    data = np.random.default_rng(1).integers(0, 256, layout.size_bytes, np.uint8)
    message = FrameMessage(7, 12.5, 0.5, YuvPicture(layout, data))
    sender = threading.Thread(target=send, args=(link[1], message))
    sender.start()
    got = receive(link[0], 20)
    sender.join()
    assert isinstance(got, FrameMessage) and isinstance(got.picture, YuvPicture)
    assert got.picture.layout == layout and np.array_equal(got.picture.data, data)


def test_news_arrive_in_order_between_pictures(link: Link) -> None:
    said: list[messages.Message] = [
        StatusMessage({"opened": {"fps": None}}),
        FrameMessage(0, 0.0, 0.0, BgrPicture(np.zeros((2, 3, 3), np.uint8))),
        StatusMessage({"failed": "ü"}),
    ]
    for message in said:
        send(link[1], message)
    got = [receive(link[0], 20) for _ in said]
    assert got[0] == said[0] and got[2] == said[2]
    assert isinstance(got[1], FrameMessage) and got[1].picture.bgr.shape == (2, 3, 3)


def test_nothing_in_time_is_none(link: Link) -> None:
    assert receive(link[0], 0.01) is None
    assert receive(link[0], 0.0) is None


def test_the_end_is_told(link: Link) -> None:
    link[1].close()
    with pytest.raises(ConnectionLost, match="ended"):
        receive(link[0], 20)


def test_nobody_listens(link: Link) -> None:
    link[0].close()
    with pytest.raises(ConnectionLost):
        send(link[1], StatusMessage({"ended": True}))


@pytest.mark.parametrize("size", [3, 46, 60])
def test_a_message_that_stops_in_the_midst_is_given_up(
    link: Link, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_MESSAGE_TIMEOUT_S", 0.02)
    whole = header(b"BGR ", 4, 4) + bytes(48)
    link[1].sendall(whole[:size])
    with pytest.raises(ConnectionLost, match="in the middle"):
        receive(link[0], 20)


@pytest.mark.parametrize(
    "data",
    [
        header(b"BGR ", 2**32 - 1, 2**32 - 1),
        header(b"BGR ", 0, 10),
        header(b"YUV ", 2**32 - 1, 2**32 - 1, 0, 0),
        header(b"YUV ", 640, 480, 2**32 - 1, 2**32 - 1),
        header(b"YUV ", 640, 480, 0, 240),
        header(b"YUV ", 640, 480, 320, 240, matrix=77),
        header(b"YUV ", 0, 0),
        header(b"TEXT", 2**32 - 1, 0),
        header(b"TEXT", 3, 0) + b"\xff{]",
        header(b"TEXT", 2, 0) + b"[]",
        header(b"EVIL", 0, 0),
    ],
)
def test_nonsense_is_refused(link: Link, data: bytes) -> None:
    link[1].sendall(data)
    with pytest.raises(ConnectionLost, match="sent"):
        receive(link[0], 20)


@pytest.mark.parametrize(
    "order",
    [
        OpenRequest("camera", "CameraSource", {"device": 0}),
        OpenRequest(
            "camera", "CameraSource", {"device": "/dev/video1", "path": "/dev/v4l/by-id/x", "fps": 30.0}
        ),
        OpenRequest("stream_source", "StreamSource", {"url": "rtsp://a:b\n@c"}),
    ],
)
def test_an_order_is_one_line(order: OpenRequest) -> None:
    line = to_line(order)
    assert line.count(b"\n") == 1
    assert from_line(line) == order
