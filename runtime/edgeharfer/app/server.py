"""Runs the app: its routes behind the HTTP server, until it is stopped."""

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
    """Run the app until it is stopped.

    Args:
        settings: The settings.
        ready: Called with the URL once the app accepts connections.
        stopping: Polled ten times a second; returns True to stop.

    Raises:
        ConfigError: The address needs a token, or messages or context cannot be used.
        ModelError: The emotion package cannot be used.
        SinkError: The port or the folder for uploads cannot be used.
    """
    check_bind(settings)
    listener = listen(settings.host, settings.port, "choose another one with --port")
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
    """Accepted Host and Origin headers: loopback names, those of --name, and any address if exposed."""
    exposed = not is_loopback(settings.host)
    names = {*settings.names, settings.host} if exposed else settings.names
    return OriginPolicy(
        names=frozenset(name.lower() for name in names),
        any_address=exposed,
        schemes=frozenset({"http", "https"}),
        linkable=frozenset({"/", "/login"}),
        host_status=421,
        host_hint="pass the host name of a proxy to --name",
    )
