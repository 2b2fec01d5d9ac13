"""Runs the app: a socket, uvicorn, and a clean end."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import cast

import uvicorn

from edgeharfer.app.access import check_bind
from edgeharfer.app.connection import Connection
from edgeharfer.app.limiter import ConnectionLimiter
from edgeharfer.app.settings import Settings
from edgeharfer.app.site import Site
from edgeharfer.app.workspace import Workspace
from edgeharfer.runtime.errors import SinkError

END_S = 3
KEEP_ALIVE_S = 5
MOST_HEAD_BYTES = 32 * 1024


class AppServer(uvicorn.Server):
    """Tells where it listens once it does. stopping: asked ten times a second; uvicorn knows no SIGHUP."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], None], stopping: Callable[[], bool]
    ) -> None:
        super().__init__(config)
        self._ready, self._stopping = ready, stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._stopping()


def serve(
    settings: Settings, ready: Callable[[str], None], stopping: Callable[[], bool] = lambda: False
) -> None:
    """Run the app until Ctrl-C or SIGTERM, or until `stopping` says so.

    ready: told the address once it can be opened. Raises ConfigError for an address that needs a token,
    SinkError for one that cannot be had, and what `Site` and `Workspace` raise.
    """
    check_bind(settings)
    with listen(settings.host, settings.port) as door, Workspace(settings.folder) as workspace:
        make_server(settings, workspace, door, ready, stopping).run(sockets=[door])


def make_server(
    settings: Settings,
    workspace: Workspace,
    door: socket.socket,
    ready: Callable[[str], None],
    stopping: Callable[[], bool] = lambda: False,
) -> AppServer:
    """The server on a socket that listens."""
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # requests are nobody's business
    limits = settings.limits
    limiter = ConnectionLimiter(limits.connections, limits.connections_per_address)
    config = uvicorn.Config(
        Site(settings, workspace).app(),
        http=cast("type[asyncio.Protocol]", partial(Connection, limiter=limiter)),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=END_S,
        h11_max_incomplete_event_size=MOST_HEAD_BYTES,
    )
    return AppServer(config, lambda: ready(address(door)), stopping)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises SinkError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        return socket.create_server(where[:2], family=family, backlog=128)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "is in use by another program; give another --port" if taken else f"cannot be used ({error})"
        raise SinkError(f"{host}: port {port} {why}") from error


def address(door: socket.socket) -> str:
    """Where a browser finds a socket."""
    host, port = door.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
