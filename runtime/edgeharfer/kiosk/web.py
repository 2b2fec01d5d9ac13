"""The loopback port: health, metrics, and the page for a browser in kiosk mode."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgeharfer.kiosk.state import KioskState
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.sinks.web_board import Board
from edgeharfer.runtime.sinks.web_server import HEADERS, LOOPBACK, Handler, Server

PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/kiosk.css": ("kiosk.css", "text/css; charset=utf-8"),
    "/kiosk.js": ("kiosk.js", "text/javascript; charset=utf-8"),
}
CONTENT_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
POLL_S = 0.05
"""How long a stop may wait for the server's loop to come round."""
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class KioskHandler(Handler):
    """One connection; what it refuses is the web view's own refusal, but for the one POST there is."""

    server: KioskServer

    def _refusal(self) -> HTTPStatus | None:
        refusal = super()._refusal()
        confirming = self.command == "POST" and self.path == "/notice"
        empty = self.headers.get("Content-Length", "0") == "0" and "Transfer-Encoding" not in self.headers
        return None if refusal is HTTPStatus.METHOD_NOT_ALLOWED and confirming and empty else refusal

    def do_GET(self) -> None:  # noqa: N802 - the base class names it
        state, path = self.server.state, self.path.partition("?")[0]
        if path in FILES:
            self._answer(FILES[path][1], self.server.files[path])
        elif path == "/state.json":
            self._answer("application/json", _json(state.content()))
        elif path == "/frame.jpg":
            self._answer("image/jpeg", state.picture())
        elif path == "/metrics":
            self._answer(METRICS_TYPE, self.server.metrics())
        elif path == "/healthz":
            self._tell("healthy" if state.healthy else "hangs", state.healthy)
        elif path == "/readyz":
            self._tell("ready" if state.ready else "not ready", state.ready)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:  # noqa: N802
        self.server.state.confirm()
        self.send_response(HTTPStatus.NO_CONTENT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _tell(self, word: str, well: bool) -> None:
        body = _json({"status": word, **self.server.state.health()})
        self.send_response(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class KioskServer(Server):
    """The web view's bounded server with the kiosk's answers in place of its board."""

    def __init__(self, port: int, state: KioskState, metrics: Callable[[], bytes]) -> None:
        self.state, self.metrics = state, metrics
        self.files = {path: (PAGE / name).read_bytes() for path, (name, _) in FILES.items()}
        super().__init__((LOOPBACK, port), Board(SystemClock()))
        self.headers = {**HEADERS, "Allow": "GET, POST", "Content-Security-Policy": CONTENT_POLICY}
        self.RequestHandlerClass = KioskHandler


class WebPort:
    """Serves in a thread of its own while the `with` block lasts. Raises SinkError for a taken port."""

    def __init__(self, port: int, state: KioskState, metrics: Callable[[], bytes]) -> None:
        try:
            self._server = KioskServer(port, state, metrics)
        except OSError as error:
            raise SinkError(
                f"http://{LOOPBACK}:{port}: cannot listen ({error.strerror}); choose another health.port"
            ) from error
        serve = partial(self._server.serve_forever, POLL_S)
        self._thread = threading.Thread(target=serve, name="kiosk web", daemon=False)

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.end()
        self._thread.join()


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
