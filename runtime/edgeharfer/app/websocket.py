"""WebSocket connections (RFC 6455) on the app's HTTP server, with the protocol of `websockets`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import OPEN, Protocol, Side
from websockets.server import ServerProtocol

from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.messages import ByteStream, Request, Response
from edgeharfer.runtime.timeouts import timeout

PIECE_BYTES = 2048
"""Read at a time. Small pieces keep the event loop free while a client sends very small frames."""
MAX_FRAMES = 64
"""Frames without a complete message: fragments, pings and pongs."""
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebSocket:
    """The server's side of an open connection.

    Args:
        stream: The connection.
        max_bytes: Largest message.
        message_s: Time within which each message has to arrive, in seconds.
    """

    def __init__(self, stream: ByteStream, max_bytes: int, message_s: float) -> None:
        self._stream, self._message_s = stream, message_s
        self._protocol = Protocol(Side.SERVER, state=OPEN, max_size=max_bytes)
        self._part = bytearray()
        self._frames = 0

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield the binary messages, until either side closes the connection or a limit is exceeded."""
        complete: list[bytes] = []
        while self._protocol.state is OPEN:
            try:
                async with timeout(self._message_s):
                    while not complete and self._protocol.state is OPEN:
                        complete = await self._receive()
            except TimeoutError:
                await self.close(CloseCode.GOING_AWAY, "no picture came for a while")
                return
            while complete:
                self._frames = 0
                yield complete.pop(0)

    async def send(self, text: str) -> None:
        """Send a text message, unless the connection is being closed."""
        if self._protocol.state is OPEN:
            self._protocol.send_text(text.encode())
            await self._flush()

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection with a code of RFC 6455, section 7.4, and a reason of at most 123 bytes."""
        if self._protocol.state is OPEN:
            self._protocol.send_close(code, reason)
            await self._flush()

    async def _receive(self) -> list[bytes]:
        """Read a piece, answer control frames, and return the messages that are complete."""
        piece = await self._stream.read(PIECE_BYTES)
        if piece:
            self._protocol.receive_data(piece)
        else:
            self._protocol.receive_eof()
        frames = [frame for frame in self._protocol.events_received() if isinstance(frame, Frame)]
        complete = [whole for frame in frames if (whole := self._assemble(frame)) is not None]
        self._frames = 0 if complete else self._frames + len(frames)
        await self._flush()
        if any(frame.opcode is Opcode.TEXT for frame in frames):
            await self.close(CloseCode.UNSUPPORTED_DATA, "only binary messages are expected")
            return []
        if self._frames > MAX_FRAMES:
            await self.close(CloseCode.POLICY_VIOLATION, "too many frames without a message")
        return complete

    def _assemble(self, frame: Frame) -> bytes | None:
        """Add a frame to the current message, and return the message if that was its last frame."""
        if frame.opcode not in _DATA:
            return None
        self._part += frame.data
        if not frame.fin:
            return None
        whole = bytes(self._part)
        self._part.clear()
        return whole

    async def _flush(self) -> None:
        if data := b"".join(self._protocol.data_to_send()):
            await self._stream.send(data)


def upgrade(
    request: Request,
    serve: Callable[[WebSocket], Awaitable[None]],
    *,
    max_bytes: int,
    message_s: float,
) -> Response:
    """Answer the request for a WebSocket.

    Args:
        request: A request whose Host, Origin and token have been checked, as for every other request.
        serve: Called with the open connection, which is closed when it returns.
        max_bytes: Largest message of the client.
        message_s: Time within which each message has to arrive, in seconds.

    Raises:
        HttpError: It is not a handshake of RFC 6455.
    """
    if request.method != "GET":
        raise HttpError(405, "a WebSocket handshake requires GET", {"Allow": "GET"})
    handshake = Handshake(request.path, Headers(request.fields))
    accepted = ServerProtocol().accept(handshake)
    if accepted.status_code != 101:
        upgrades = {"Upgrade": "websocket"} if accepted.status_code == 426 else {}
        raise HttpError(accepted.status_code, "this address requires a WebSocket connection", upgrades)

    async def run(stream: ByteStream) -> None:
        socket = WebSocket(stream, max_bytes, message_s)
        await serve(socket)
        await socket.close(CloseCode.NORMAL_CLOSURE)

    names = ("Upgrade", "Connection", "Sec-WebSocket-Accept")
    headers = {name: accepted.headers[name] for name in names}
    return Response(status=101, headers=headers, upgrade=run)
