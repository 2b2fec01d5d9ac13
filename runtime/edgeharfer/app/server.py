"""Runs the app: its routes behind the bounded HTTP server, and a clean end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from edgeharfer.app.access import check_bind
from edgeharfer.app.routes import Routes
from edgeharfer.app.settings import Settings
from edgeharfer.app.workspace import Workspace
from edgeharfer.runtime.http.origins import OriginPolicy, is_loopback
from edgeharfer.runtime.http.server import HttpServer, content_security_policy, listen, listener_url

POLL_S = 0.1
HEADERS = {
    "Content-Security-Policy": content_security_policy(
        script="'self'", style="'self'", img="'self' blob:", media="blob:", connect="'self'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), interest-cohort=()",
}


def serve(
    settings: Settings, ready: Callable[[str], None], stopping: Callable[[], bool] = lambda: False
) -> None:
    """Run the app until `stopping` says so, which is asked ten times a second.

    ready: called with the address once it can be opened. Raises ConfigError for an address that needs a
    token, SinkError for a port that cannot be used, and what `Routes` and `Workspace` raise.
    """
    check_bind(settings)
    listener = listen(settings.host, settings.port, "give another one with --port")
    with listener, Workspace(settings.folder) as workspace:
        asyncio.run(_serve(Routes(settings, workspace), settings, listener, ready, stopping))


async def _serve(
    routes: Routes,
    settings: Settings,
    listener: socket.socket,
    ready: Callable[[str], None],
    stopping: Callable[[], bool],
) -> None:
    async def until_stopping() -> None:
        ready(listener_url(listener))
        while not stopping():
            await asyncio.sleep(POLL_S)

    async with routes.running() as handler:
        server = HttpServer(handler, HEADERS, origin_policy(settings), settings.limits)
        await server.run(listener, until_stopping())


def origin_policy(settings: Settings) -> OriginPolicy:
    """The names of the app: this machine's, those of --name, and any address where it listens for others."""
    exposed = not is_loopback(settings.host)
    names = {*settings.names, settings.host} if exposed else settings.names
    return OriginPolicy(
        names=frozenset(name.lower() for name in names),
        any_address=exposed,
        schemes=frozenset({"http", "https"}),
        linkable=frozenset({"/", "/login"}),
        host_status=421,
        host_hint="start the app with --name for a proxy's",
    )
