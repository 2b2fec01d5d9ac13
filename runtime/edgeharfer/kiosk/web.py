"""The HTTP server on the loopback port: health, metrics, and the page for a browser in kiosk mode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from edgeharfer.kiosk.state import KioskState
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.messages import Request, Response, json_response
from edgeharfer.runtime.http.origins import LOOPBACK, OriginPolicy
from edgeharfer.runtime.http.router import Route, Router, static_routes
from edgeharfer.runtime.http.server import HttpServer, ServerThread, content_security_policy, listen

PAGE = Path(__file__).with_name("page")
LIMITS = HttpLimits(stall_s=5.0, connections=32, connections_per_address=32)
HEADERS = {
    "Content-Security-Policy": content_security_policy(
        style="'self'", script="'self'", connect="'self'", img="'self' blob:"
    )
}
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class WebPort(ServerThread):
    """Serves while the `with` block lasts.

    Args:
        port: Port on 127.0.0.1; 0 for any free one.
        kiosk: The state to serve.
        metrics: Renders the metrics.
        limits: Limits of the server.

    Raises:
        SinkError: The port is in use.
    """

    def __init__(
        self, port: int, kiosk: KioskState, metrics: Callable[[], bytes], limits: HttpLimits = LIMITS
    ) -> None:
        async def state(request: Request) -> Response:
            return json_response(kiosk.content())

        async def picture(request: Request) -> Response:
            jpeg = await asyncio.to_thread(kiosk.picture)
            if not jpeg:
                raise HttpError(503, "no picture available")
            return Response(jpeg, "image/jpeg")

        async def scrape(request: Request) -> Response:
            return Response(metrics(), METRICS_TYPE)

        def probe(healthy: str, problem: str, passed: bool) -> Response:
            content = {"status": healthy if passed else problem, **kiosk.health()}
            return json_response(content, 200 if passed else 503)

        async def healthy(request: Request) -> Response:
            return probe("healthy", "hangs", kiosk.healthy)

        async def ready(request: Request) -> Response:
            return probe("ready", "not ready", kiosk.ready)

        async def confirm(request: Request) -> Response:
            if not request.body.finished:
                raise HttpError(405, "this request takes no body")
            kiosk.confirm()
            return Response(status=204)

        async def decline(request: Request) -> Response:
            if not request.body.finished:
                raise HttpError(405, "this request takes no body")
            kiosk.decline()
            return Response(status=204)

        router = Router(
            [
                *static_routes(PAGE),
                Route("GET", "/state.json", state),
                Route("GET", "/frame.jpg", picture),
                Route("GET", "/metrics", scrape),
                Route("GET", "/healthz", healthy),
                Route("GET", "/readyz", ready),
                Route("POST", "/notice", confirm),
                Route("POST", "/decline", decline),
            ]
        )
        listener = listen(LOOPBACK, port, "choose another health.port")
        super().__init__(HttpServer(router, HEADERS, OriginPolicy(), limits), listener, "kiosk web")
