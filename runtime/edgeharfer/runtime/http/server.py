"""The server: a listening socket, its connections, and a clean end; in a thread of its own where wanted."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.http.connection import HttpConnection
from edgeharfer.runtime.http.limiter import ConnectionLimiter
from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.origins import OriginPolicy
from edgeharfer.runtime.http.router import Handler

BACKLOG = 128
MAX_HEAD_BYTES = 32 * 1024
GRACE_S = 0.5
"""For responses that are being written when the server ends."""
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "edgeharfer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def content_policy(**sources: str) -> str:
    """A Content-Security-Policy of the named sources, such as img="'self'", and nothing else."""
    allowed = "".join(f"{name}-src {where}; " for name, where in sources.items())
    return f"default-src 'none'; {allowed}base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class HttpServer:
    """Answers with a handler, within limits.

    headers: of every response, beside HEADERS. policy: which requests are answered at all.
    """

    def __init__(
        self, handler: Handler, headers: Mapping[str, str], policy: OriginPolicy, limits: HttpLimits
    ) -> None:
        self._handler, self._policy, self._limits = handler, policy, limits
        self._headers = {**HEADERS, **headers}
        self._limiter = ConnectionLimiter(limits.connections, limits.connections_per_address)
        self._open: dict[asyncio.Task[None], HttpConnection] = {}

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    async def run(self, listener: socket.socket, until: Awaitable[object]) -> None:
        """Serve on a listening socket, which is closed at the end."""
        server = await asyncio.start_server(
            self._accept, sock=listener, limit=MAX_HEAD_BYTES, backlog=BACKLOG
        )
        try:
            await until
        finally:
            server.close()
            await self._end()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = HttpConnection(reader, writer, self._limits, self._headers)
        if not self._limiter.admit(connection):
            connection.cut()
            return
        task = asyncio.create_task(connection.serve(self._handler, self._policy))
        self._open[task] = connection
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        connection = self._open.pop(task)
        self._limiter.remove(connection)
        if task.cancelled():  # perhaps before it began, and then nothing else closes the socket
            connection.cut()

    async def _end(self) -> None:
        for task, connection in self._open.items():
            connection.end()
            if connection.between_requests:
                task.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=GRACE_S)
        for task, connection in self._open.items():
            connection.cut()
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)
        await asyncio.sleep(0)  # sockets that were cut are closed in the next turn of the loop


class ServerThread:
    """Runs a server in a thread with an event loop of its own, while the `with` block lasts."""

    def __init__(self, server: HttpServer, listener: socket.socket, name: str) -> None:
        self.server, self.port = server, int(listener.getsockname()[1])
        self._listener = listener
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # the loop has ended by itself, and its thread has reported why
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self.server.run(self._listener, self._stop.wait()))


def listen(host: str, port: int, advice: str) -> socket.socket:
    """A socket that listens. Raises SinkError with the advice where the port cannot be used."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        return socket.create_server(where[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use by another program" if taken else f"cannot be used ({error.strerror or error})"
        raise SinkError(f"{_url(host, port)}: the port {reason}; {advice}") from error


def url_of(listener: socket.socket) -> str:
    """Where a browser finds a listening socket."""
    host, port = listener.getsockname()[:2]
    return _url(host, port)


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
