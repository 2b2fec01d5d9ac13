"""The HTTP server: a listening socket, its connections, graceful shutdown, and an optional thread."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.http.connection import HttpConnection
from edgeharfer.runtime.http.limiter import ConnectionLimiter
from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.origins import OriginPolicy
from edgeharfer.runtime.http.router import Handler

if TYPE_CHECKING:
    from typing_extensions import Self

BACKLOG = 128
MAX_HEAD_BYTES = 32 * 1024
GRACE_S = 0.5
"""Time for responses in progress to finish when the server shuts down."""
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "edgeharfer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


# Turns of the event loop until a connection that was just accepted gets to `_accept`, and is closed.
_CLOSING_TURNS = 5


def content_security_policy(**sources: str) -> str:
    """Return a Content-Security-Policy that allows only the given sources, such as img="'self'"."""
    allowed = "".join(f"{name}-src {where}; " for name, where in sources.items())
    return f"default-src 'none'; {allowed}base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class HttpServer:
    """Serves requests with a handler, within limits."""

    def __init__(
        self, handler: Handler, headers: Mapping[str, str], policy: OriginPolicy, limits: HttpLimits
    ) -> None:
        """Configure the server; `run` starts it.

        Args:
            handler: Called with each accepted request.
            headers: Header fields of every response, in addition to HEADERS.
            policy: Decides which requests are accepted.
            limits: Resource limits.
        """
        self._handler, self._policy, self._limits = handler, policy, limits
        self._headers = {**HEADERS, **headers}
        self._limiter = ConnectionLimiter(limits.connections, limits.connections_per_address)
        self._open: dict[asyncio.Task[None], HttpConnection] = {}
        self._closing = False

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._open)

    async def run(self, listener: socket.socket, until: Awaitable[object]) -> None:
        """Serve until an awaitable completes, then shut down gracefully.

        Args:
            listener: Listening socket; it is closed at the end.
            until: Awaited while the server runs.
        """
        server = await asyncio.start_server(
            self._accept, sock=listener, limit=MAX_HEAD_BYTES, backlog=BACKLOG
        )
        try:
            await until
        finally:
            await _attach_accepted(listener)
            server.close()
            await self._shut_down()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = HttpConnection(reader, writer, self._limits, self._headers)
        if self._closing or not self._limiter.admit(connection):
            connection.abort()
            return
        task = asyncio.create_task(connection.serve(self._handler, self._policy))
        self._open[task] = connection
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        connection = self._open.pop(task)
        self._limiter.remove(connection)
        if task.cancelled():  # perhaps before it began, and then nothing else closes the socket
            connection.abort()

    async def _shut_down(self) -> None:
        self._closing = True
        for task, connection in self._open.items():
            connection.finish()
            if connection.idle:
                task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=GRACE_S)
        for task, connection in self._open.items():
            connection.abort()
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)
        for _ in range(_CLOSING_TURNS):
            await asyncio.sleep(0)


async def _attach_accepted(listener: socket.socket) -> None:
    """Accept no more connections, and wait until those just accepted have reached the server.

    asyncio attaches a connection to its server one turn of the loop after it was accepted, and calls back in
    the next. If the server is closed in between, the connection is dropped without closing its socket.
    """
    with suppress(NotImplementedError):  # the loop of Windows attaches them at once
        asyncio.get_running_loop().remove_reader(listener)
    for _ in range(2):
        await asyncio.sleep(0)


class ServerThread:
    """Runs a server in a thread with its own event loop for the duration of a `with` block."""

    def __init__(self, server: HttpServer, listener: socket.socket, name: str) -> None:
        self.server, self.port = server, int(listener.getsockname()[1])
        self._listener = listener
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # the loop was closed after an error, which its thread has reported
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self.server.run(self._listener, self._stop.wait()))
        finally:
            try:
                self._loop.run_until_complete(_finish_loop())
            finally:
                self._loop.close()


async def _finish_loop() -> None:
    """End what still runs in the loop of the caller, as `asyncio.Runner` of Python 3.11 does."""
    loop, left = asyncio.get_running_loop(), asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


def listen(host: str, port: int, hint: str) -> socket.socket:
    """Open a listening socket.

    Args:
        host: Host name or address.
        port: Port number, 0 for any free one.
        hint: Advice in the error message.

    Raises:
        SinkError: The port cannot be used.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        return socket.create_server(where[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use by another program" if taken else f"cannot be used ({error.strerror or error})"
        raise SinkError(f"{_url(host, port)}: the port {reason}; {hint}") from error


def listener_url(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return _url(host, port)


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
