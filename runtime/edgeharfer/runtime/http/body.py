"""Reading of request bodies, from clients that may be slow, send invalid data, or stop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.timeouts import timeout

PIECE_BYTES = 64 * 1024
MAX_TRAILERS = 16
SLOW_FRACTION = 0.2
"""A client that has used up this fraction of its allowance is slow: another upload may replace it."""

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class Body:
    """The body of a request, which can be read once.

    Attributes:
        length: Length in bytes, None for a chunked body.
        finished: Whether the body was read to its end.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        length: int | None,
        *,
        send_continue: Callable[[], None] | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Prepare to read the body.

        Args:
            reader: Connection, positioned at the start of the body.
            length: Length in bytes, None for a chunked body.
            send_continue: Sends "100 Continue"; None unless the client waits for it.
            waiting: Context entered while the server waits for the client.
        """
        self.length = length
        self.finished = length == 0
        self._reader, self._send_continue, self._waiting = reader, send_continue, waiting
        self._left = length or 0  # of the body, or of the chunk
        self._between_chunks = False

    @property
    def awaits_continue(self) -> bool:
        """Whether the client still waits for "100 Continue" before it sends the body."""
        return self._send_continue is not None

    async def read(self) -> bytes:
        """Return the next part of the body, b"" at the end.

        Raises:
            HttpError: 400, the body is incomplete or malformed.
        """
        if self.finished:
            return b""
        if self._send_continue is not None:
            self._send_continue()
            self._send_continue = None
        try:
            with self._waiting():
                return await self._read()
        except asyncio.LimitOverrunError as error:
            raise HttpError(400, "invalid chunk size in the request body") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise HttpError(400, "the request body is incomplete") from error

    async def _read(self) -> bytes:
        if self.length is None and self._left == 0:
            await self._begin_chunk()
            if self.finished:
                return b""
        piece = await self._reader.read(min(self._left, PIECE_BYTES))
        if not piece:
            raise asyncio.IncompleteReadError(b"", self._left)
        self._left -= len(piece)
        self.finished = self.length is not None and self._left == 0
        return piece

    async def _begin_chunk(self) -> None:
        end = await self._reader.readexactly(2) if self._between_chunks else b"\r\n"
        size = _CHUNK_SIZE.fullmatch(await self._reader.readuntil(b"\r\n"))
        if end != b"\r\n" or size is None:
            raise HttpError(400, "invalid chunk size in the request body")
        self._left, self._between_chunks = int(size[1], 16), True
        if self._left == 0:
            for _ in range(MAX_TRAILERS):
                if await self._reader.readuntil(b"\r\n") == b"\r\n":
                    self.finished = True
                    return
            raise HttpError(400, "too many trailer fields")


class BodyDeadline:
    """The time left to receive a body.

    A client starts with an allowance of `stall_s` seconds. Waiting reduces it, and each byte adds
    1 / `min_rate` seconds, up to `stall_s`. So a client may pause, but not be slower than `min_rate` for
    long. The total waiting time is limited to `deadline_s`; time that the server spends on other work does
    not count.
    """

    def __init__(self, clock: Clock, limits: HttpLimits, deadline_s: float) -> None:
        """Start with a full allowance.

        Args:
            clock: Monotonic clock.
            limits: `stall_s` and `min_rate` are used.
            deadline_s: Maximum total waiting time in seconds.
        """
        self._clock = clock
        self._stall_s, self._min_rate = limits.stall_s, limits.min_rate
        self._allowance_s, self._deadline_s = limits.stall_s, deadline_s
        self._since_s: float | None = None

    @property
    def remaining_s(self) -> float:
        """Seconds until the request times out."""
        return min(self._allowance_s, self._deadline_s) - self._waited_s

    @property
    def slow(self) -> bool:
        """Whether the client has been slower than the minimum rate for a while."""
        return self._allowance_s - self._waited_s < (1 - SLOW_FRACTION) * self._stall_s

    def start_wait(self) -> None:
        """Record that the server starts to wait for data."""
        self._since_s = self._clock.monotonic()

    def end_wait(self, count: int) -> None:
        """Record that `count` bytes were received."""
        waited_s, self._since_s = self._waited_s, None
        self._deadline_s -= waited_s
        self._allowance_s = min(self._stall_s, self._allowance_s - waited_s + count / self._min_rate)

    @property
    def _waited_s(self) -> float:
        return 0.0 if self._since_s is None else self._clock.monotonic() - self._since_s


async def read_body(body: Body, deadline: BodyDeadline) -> AsyncIterator[bytes]:
    """Yield the parts of a body.

    Raises:
        HttpError: The body is incomplete or malformed (400), or was sent too slowly (408).
    """
    while deadline.remaining_s > 0:
        deadline.start_wait()
        try:
            async with timeout(deadline.remaining_s):
                piece = await body.read()
        except TimeoutError:
            break
        deadline.end_wait(len(piece))
        if not piece:
            return
        yield piece
    raise HttpError(408, "the request body was not received in time", {"Connection": "close"})
