"""Request bodies as they arrive, from clients that may be slow, lie, or stop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.limits import HttpLimits

PIECE_BYTES = 64 * 1024
MAX_TRAILERS = 16
SLOW_SHARE = 0.2
"""A client that has used up this share of its allowance is slow: another upload may take its place."""

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class Body:
    """The body of one request, read once.

    length: in bytes, None for a chunked body. proceed: called before the first read, where the client waits
    for "100 Continue". waiting: entered while the server waits for the client.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        length: int | None,
        *,
        proceed: Callable[[], None] | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.length = length
        self.finished = length == 0
        self._reader, self._proceed, self._waiting = reader, proceed, waiting
        self._left = length or 0  # of the body, or of the chunk
        self._between_chunks = False

    @property
    def is_awaited(self) -> bool:
        """Whether the client sends the body only when it is told to, and was not told yet."""
        return self._proceed is not None

    async def read(self) -> bytes:
        """The next piece; b"" at the end. Raises HttpError 400 where the body breaks off or is malformed."""
        if self.finished:
            return b""
        if self._proceed is not None:
            self._proceed()
            self._proceed = None
        try:
            with self._waiting():
                return await self._read()
        except asyncio.LimitOverrunError as error:
            raise HttpError(400, "a chunk of the request has no size") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise HttpError(400, "the request was not sent to its end") from error

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
            raise HttpError(400, "a chunk of the request has no size")
        self._left, self._between_chunks = int(size[1], 16), True
        if self._left == 0:
            for _ in range(MAX_TRAILERS):
                if await self._reader.readuntil(b"\r\n") == b"\r\n":
                    self.finished = True
                    return
            raise HttpError(400, "too many trailers")


class BodyDeadline:
    """How much longer the server waits for a body.

    A client begins with an allowance of `stall_s`. Waiting for it uses the allowance up, and each byte earns
    1 / `least_rate` seconds of it back, never beyond `stall_s`. So it may pause, and may not be slower than
    `least_rate` for long. All waits together end at `deadline_s`. Time in which the server does
    other things does not count.
    """

    def __init__(self, clock: Clock, limits: HttpLimits, deadline_s: float) -> None:
        self._clock = clock
        self._stall_s, self._least_rate = limits.stall_s, limits.least_rate
        self._allowance_s, self._deadline_s = limits.stall_s, deadline_s
        self._since_s: float | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the server gives up."""
        return min(self._allowance_s, self._deadline_s) - self._waited_s

    @property
    def slow(self) -> bool:
        """Whether the client has been slower than the least rate for a while."""
        return self._allowance_s - self._waited_s < (1 - SLOW_SHARE) * self._stall_s

    def wait(self) -> None:
        """The server begins to wait for bytes."""
        self._since_s = self._clock.monotonic()

    def received(self, count: int) -> None:
        """The wait is over: so many bytes have come."""
        waited_s, self._since_s = self._waited_s, None
        self._deadline_s -= waited_s
        self._allowance_s = min(self._stall_s, self._allowance_s - waited_s + count / self._least_rate)

    @property
    def _waited_s(self) -> float:
        return 0.0 if self._since_s is None else self._clock.monotonic() - self._since_s


async def received(body: Body, pace: BodyDeadline) -> AsyncIterator[bytes]:
    """The body piece by piece. Raises HttpError where it stops coming, comes too slowly, or breaks off."""
    while pace.left_s > 0:
        pace.wait()
        try:
            async with asyncio.timeout(pace.left_s):
                piece = await body.read()
        except TimeoutError:
            break
        pace.received(len(piece))
        if not piece:
            return
        yield piece
    raise HttpError(408, "the request stopped coming, or came too slowly", {"Connection": "close"})
