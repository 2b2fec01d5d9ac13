"""One connection with a client: requests one after another, and an end to every wait."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from edgeharfer.runtime.http.body import Body
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.messages import Request, Response, error_response
from edgeharfer.runtime.http.origins import OriginPolicy, client_address
from edgeharfer.runtime.http.router import Handler

BUFFER_BYTES = 64 * 1024
"""What a client may be behind: of the responses themselves, and again in the system's send buffer."""
LINGER_S, LINGER_BYTES = 1.0, 4 << 20
"""A client whose body is refused is read for a little longer, or the reset would destroy the response."""
_SAFE = ("GET", "HEAD")

_log = logging.getLogger(__name__)


class _Gone(Exception):
    """The client has left, or does not send or read."""


class HttpConnection:
    """Reads requests and writes responses.

    address: of the client, as limits count it. waiting_since_s: since when the server has waited for the
    client; None while the client waits for the server.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: HttpLimits,
        headers: Mapping[str, str],
    ) -> None:
        self._reader, self._writer, self._limits, self._headers = reader, writer, limits, headers
        peer = writer.get_extra_info("peername")
        self.address = client_address(peer[0] if peer else None)
        self.waiting_since_s: float | None = asyncio.get_running_loop().time()
        self.between_requests = True
        self._ending = False
        writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self._set_option(socket.SO_SNDBUF, BUFFER_BYTES)

    async def serve(self, handler: Handler, policy: OriginPolicy) -> None:
        """Answer requests until either side ends the connection."""
        try:
            while await self._serve_one(handler, policy):
                pass
        except _Gone:
            pass
        except Exception as error:
            _log.error("a response broke off: %r", error)
        finally:
            await self._close()

    def end(self) -> None:
        """Close it after the response that is being written."""
        self._ending = True

    def cut(self) -> None:
        """Break off at once; the system would else keep what was not read, for many minutes."""
        if os.name == "posix":
            self._set_option(socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _serve_one(self, handler: Handler, policy: OriginPolicy) -> bool:
        """Whether another request may follow."""
        try:
            request = Request.parse(await self._read_head(), self.address, self._make_body)
        except HttpError as error:
            await self._write(error_response(error), close=True)
            return False
        response = await _respond(request, handler, policy)
        keep = (
            request.persistent
            and request.body.finished
            and response.known_length is not None
            and response.headers.get("Connection") != "close"
            and not self._ending
        )
        await self._write(response, close=not keep, only_head=request.method == "HEAD")
        if not request.body.finished and not request.body.is_awaited and request.method not in _SAFE:
            await self._linger(request.body)
        return keep

    async def _read_head(self) -> bytes:
        self.between_requests = True
        try:
            with self._waiting():
                async with asyncio.timeout(self._limits.head_s):
                    return await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise HttpError(431, "the header fields are too large") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise _Gone from error
        finally:
            self.between_requests = False

    def _make_body(self, length: int | None, awaited: bool) -> Body:
        def proceed() -> None:
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        return Body(self._reader, length, proceed=proceed if awaited else None, waiting=self._waiting)

    async def _write(self, response: Response, *, close: bool, only_head: bool = False) -> None:
        head, content = response.head(self._headers, close=close), response.content
        if isinstance(content, bytes):
            await self._send(head if only_head else head + content)
            return
        try:
            await self._send(head)
            if not only_head:
                async for part in content:
                    await self._send(part)
        finally:
            await content.aclose()

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        try:
            with self._waiting():
                async with asyncio.timeout(self._limits.stall_s):
                    await self._writer.drain()
        except OSError as error:
            self.cut()
            raise _Gone from error

    async def _linger(self, body: Body) -> None:
        left = LINGER_BYTES
        with suppress(TimeoutError, HttpError):
            async with asyncio.timeout(LINGER_S):
                while left > 0 and (piece := await body.read()):
                    left -= len(piece)

    async def _close(self) -> None:
        """Closing waits until all is read, and so has to end, too."""
        self._writer.close()
        try:
            with self._waiting():
                async with asyncio.timeout(self._limits.stall_s):
                    await self._writer.wait_closed()
        except OSError:
            self.cut()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self.waiting_since_s = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self.waiting_since_s = None

    def _set_option(self, option: int, value: int | bytes) -> None:
        own = self._writer.get_extra_info("socket")
        if own is not None:
            with suppress(OSError):  # macOS refuses it for a connection that the client has reset
                own.setsockopt(socket.SOL_SOCKET, option, value)


async def _respond(request: Request, handler: Handler, policy: OriginPolicy) -> Response:
    try:
        policy.check(request)
        if request.method in _SAFE and not request.body.finished:
            raise HttpError(413, f"a {request.method} request has no body")
        return await handler(request)
    except HttpError as error:
        return error_response(error)
