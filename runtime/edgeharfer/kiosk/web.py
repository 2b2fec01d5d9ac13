"""The loopback port: health, metrics, and the page for a browser in kiosk mode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from edgeharfer.kiosk.desk import Desk
from edgeharfer.runtime.http import (
    LOOPBACK,
    HttpError,
    HttpLimits,
    HttpServer,
    OriginPolicy,
    Request,
    Response,
    Route,
    Router,
    ServerThread,
    content_policy,
    json_response,
    listen,
    static_routes,
)

PAGE = Path(__file__).with_name("page")
LIMITS = HttpLimits(stall_s=5.0, connections=32, connections_per_address=32)
HEADERS = {
    "Content-Security-Policy": content_policy(
        style="'self'", script="'self'", connect="'self'", img="'self' blob:"
    )
}
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class WebPort(ServerThread):
    """Serves while the `with` block lasts. Raises SinkError for a port that is taken."""

    def __init__(
        self, port: int, desk: Desk, metrics: Callable[[], bytes], limits: HttpLimits = LIMITS
    ) -> None:
        async def state(request: Request) -> Response:
            return json_response(desk.state())

        async def picture(request: Request) -> Response:
            jpeg = await asyncio.to_thread(desk.picture)
            if not jpeg:
                raise HttpError(503, "there is no picture yet")
            return Response(jpeg, "image/jpeg")

        async def scrape(request: Request) -> Response:
            return Response(metrics(), METRICS_TYPE)

        async def healthy(request: Request) -> Response:
            well = desk.healthy
            return json_response(
                {"status": "healthy" if well else "hangs", **desk.health()}, 200 if well else 503
            )

        async def ready(request: Request) -> Response:
            well = desk.ready
            return json_response(
                {"status": "ready" if well else "not ready", **desk.health()}, 200 if well else 503
            )

        async def confirm(request: Request) -> Response:
            if not request.body.finished:
                raise HttpError(405, "this request takes no body")
            desk.confirm()
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
            ]
        )
        listener = listen(LOOPBACK, port, "choose another health.port")
        super().__init__(HttpServer(router, HEADERS, OriginPolicy(), limits), listener, "kiosk web")
