"""The app's side of a WebSocket: whole messages, and clients that break the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

pytest.importorskip("websockets", reason="needs the app extra")

from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from edgeharfer.app.websocket import MAX_FRAMES, PIECE_BYTES, WebSocket

MAX_BYTES = 100_000


class FakeStream:
    """A connection whose client sends these bytes, and then waits for ever or leaves."""

    def __init__(self, data: bytes, leaves: bool) -> None:
        self._data, self._leaves = data, leaves
        self.sent = b""

    async def read(self, size: int) -> bytes:
        if not self._data and not self._leaves:
            await asyncio.Event().wait()
        piece, self._data = self._data[:size], self._data[size:]
        return piece

    async def send(self, data: bytes) -> None:
        self.sent += data


def masked(*frames: Frame) -> bytes:
    """Frames as a client sends them."""
    return b"".join(frame.serialize(mask=True) for frame in frames)


def talk(data: bytes, *, leaves: bool = True, message_s: float = 60.0) -> tuple[list[bytes], int | None]:
    """The messages that arrive, and the code with which the server closes the connection."""
    stream = FakeStream(data, leaves)

    async def receive() -> list[bytes]:
        return [message async for message in WebSocket(stream, MAX_BYTES, message_s).messages()]

    messages = asyncio.run(receive())
    client = Protocol(Side.CLIENT, state=OPEN)
    client.receive_data(stream.sent)
    closes = [
        one for one in client.events_received() if isinstance(one, Frame) and one.opcode is Opcode.CLOSE
    ]
    return messages, Close.parse(closes[0].data).code if closes else None


def test_messages_arrive_whole_however_they_are_cut() -> None:
    parts = [
        Frame(Opcode.BINARY, b"one"),
        Frame(Opcode.BINARY, b"tw", fin=False),
        Frame(Opcode.PING, b"there?"),
        Frame(Opcode.CONT, b"o"),
        Frame(Opcode.BINARY, b"x" * (2 * PIECE_BYTES)),
    ]
    assert talk(masked(*parts))[0] == [b"one", b"two", b"x" * (2 * PIECE_BYTES)]


def test_a_client_that_closes_is_answered() -> None:
    assert talk(masked(Frame(Opcode.CLOSE, Close(1000, "").serialize()))) == ([], 1000)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(Opcode.TEXT, b"hello")], CloseCode.UNSUPPORTED_DATA),
        ([Frame(Opcode.BINARY, bytes(MAX_BYTES + 1))], CloseCode.MESSAGE_TOO_BIG),
        (
            [Frame(Opcode.BINARY, bytes(MAX_BYTES), fin=False), Frame(Opcode.CONT, bytes(2))],
            CloseCode.MESSAGE_TOO_BIG,
        ),
        ([Frame(Opcode.PING, b"")] * 3000, CloseCode.POLICY_VIOLATION),
        (
            [Frame(Opcode.BINARY, b"", fin=False), *[Frame(Opcode.CONT, b"", fin=False)] * MAX_FRAMES],
            CloseCode.POLICY_VIOLATION,
        ),
        ([Frame(Opcode.CONT, b"of nothing")], CloseCode.PROTOCOL_ERROR),
    ],
)
def test_what_breaks_the_rules_ends_the_connection(frames: Sequence[Frame], code: int) -> None:
    assert talk(masked(*frames), leaves=False) == ([], code)


def test_frames_without_a_mask_end_the_connection() -> None:
    assert talk(Frame(Opcode.BINARY, b"x").serialize(mask=False)) == ([], CloseCode.PROTOCOL_ERROR)


def test_a_message_that_does_not_come_is_not_waited_for() -> None:
    half = masked(Frame(Opcode.BINARY, bytes(1000)))[:500]
    assert talk(half, leaves=False, message_s=0.05) == ([], CloseCode.GOING_AWAY)
