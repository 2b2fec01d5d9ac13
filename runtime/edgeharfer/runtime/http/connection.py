"""A connection to a client: sequential requests, with a timeout for every wait."""

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
from edgeharfer.runtime.timeouts import timeout

BUFFER_BYTES = 64 * 1024
"""Maximum amount of unsent response data, in the write buffer and again in the system's send buffer."""
LINGER_S, LINGER_BYTES = 1.0, 4 << 20
"""How much of a rejected body is still read: an earlier close would discard the response."""
_SAFE = ("GET", "HEAD")

_log = logging.getLogger(__name__)


class _ClientGone(Exception):
    """The client closed the connection, or timed out."""


class HttpConnection:
    """Reads requests and writes responses.

    Attributes:
        address: Address of the client, as counted by limits (see `client_address`).
        waiting_since_s: Loop time since which the server has waited for the client, None while the client
            waits for the server.
        idle: Whether no request is in progress.
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
        self.idle = True
        self._finishing = False
        writer.transport.set_write_buffer_limits(high=BUFFER_BYTES)
        self._set_option(socket.SO_SNDBUF, BUFFER_BYTES)

    async def serve(self, handler: Handler, policy: OriginPolicy) -> None:
        """Serve requests until either side closes the connection.

        Args:
            handler: Called with each accepted request.
            policy: Decides which requests are accepted.
        """
        try:
            while await self._serve_one(handler, policy):
                pass
        except _ClientGone:
            pass
        except Exception as error:
            _log.error("the response was aborted: %r", error)
        finally:
            await self._close()

    def finish(self) -> None:
        """Close the connection after the current response."""
        self._finishing = True

    def abort(self) -> None:
        """Close the connection immediately, without keeping unread data in the system for minutes."""
        if os.name == "posix":
            self._set_option(socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _serve_one(self, handler: Handler, policy: OriginPolicy) -> bool:
        """Serve one request and return whether another one may follow."""
        try:
            request = Request.parse(await self._read_head(), self.address, self._make_body)
        except HttpError as error:
            await self._write(error_response(error), close=True)
            return False
        response = await _respond(request, handler, policy)
        if response.upgrade is not None:
            await self._write(response, close=False)
            await response.upgrade(self)
            return False
        keep = (
            request.persistent
            and request.body.finished
            and response.known_length is not None
            and response.headers.get("Connection") != "close"
            and not self._finishing
        )
        await self._write(response, close=not keep, head_only=request.method == "HEAD")
        if not request.body.finished and not request.body.awaits_continue and request.method not in _SAFE:
            await self._linger(request.body)
        return keep

    async def _read_head(self) -> bytes:
        self.idle = True
        try:
            with self._waiting():
                async with timeout(self._limits.head_s):
                    return await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise HttpError(431, "the header fields are too large") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise _ClientGone from error
        finally:
            self.idle = False

    def _make_body(self, length: int | None, awaited: bool) -> Body:
        def send_continue() -> None:
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        return Body(
            self._reader, length, send_continue=send_continue if awaited else None, waiting=self._waiting
        )

    async def _write(self, response: Response, *, close: bool, head_only: bool = False) -> None:
        head, content = response.head(self._headers, close=close), response.content
        if isinstance(content, bytes):
            await self._send(head if head_only else head + content)
            return
        try:
            await self._send(head)
            if not head_only:
                async for part in content:
                    await self._send(part)
        finally:
            await content.aclose()

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        try:
            with self._waiting():
                async with timeout(self._limits.stall_s):
                    await self._writer.drain()
        except OSError as error:
            self.abort()
            raise _ClientGone from error

    async def read(self, size: int) -> bytes:
        """Return the next bytes after an upgrade; a server that shuts down need not wait for them."""
        self.idle = True
        try:
            with self._waiting():
                return await self._reader.read(size)
        except OSError:
            return b""
        finally:
            self.idle = False

    async def send(self, data: bytes) -> None:
        """Send bytes after an upgrade."""
        await self._send(data)

    async def _linger(self, body: Body) -> None:
        left = LINGER_BYTES
        with suppress(TimeoutError, HttpError):
            async with timeout(LINGER_S):
                while left > 0 and (piece := await body.read()):
                    left -= len(piece)

    async def _close(self) -> None:
        """Close the connection; waiting for the client to read the rest has a timeout as well."""
        self._writer.close()
        try:
            with self._waiting():
                async with timeout(self._limits.stall_s):
                    await self._writer.wait_closed()
        except OSError:
            self.abort()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self.waiting_since_s = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self.waiting_since_s = None

    def _set_option(self, option: int, value: int | bytes) -> None:
        sock = self._writer.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):  # macOS rejects it for a connection that the client has reset
                sock.setsockopt(socket.SOL_SOCKET, option, value)


async def _respond(request: Request, handler: Handler, policy: OriginPolicy) -> Response:
    try:
        policy.check(request)
        if request.method in _SAFE and not request.body.finished:
            raise HttpError(413, f"a {request.method} request must not have a body")
        return await handler(request)
    except HttpError as error:
        return error_response(error)
