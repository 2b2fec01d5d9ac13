"""A live view for a browser on this machine or through an ssh tunnel (`--view web`)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import cv2

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.limits import HttpLimits
from edgeharfer.runtime.http.messages import Request, Response
from edgeharfer.runtime.http.origins import LOOPBACK, OriginPolicy
from edgeharfer.runtime.http.router import Route, Router, static_route
from edgeharfer.runtime.http.server import HttpServer, ServerThread, content_security_policy, listen
from edgeharfer.runtime.overlay import annotate
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink, SinkOptions
from edgeharfer.runtime.sinks.live_feed import LiveFeed, Snapshot, status_to_dict
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

INTERVAL_S = 1 / 15
"""Shortest time between two images."""
MAX_STREAMS = 8
LIMITS = HttpLimits(stall_s=5.0, connections=32, connections_per_address=32)
MIN_HEIGHT, MAX_ENLARGED, MAX_SIDE = 480, 4, 1280
"""Images below MIN_HEIGHT pixels are enlarged up to MAX_ENLARGED times; MAX_SIDE limits both sides."""
PAGE = Path(__file__).with_name("web_page.html")
PART = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n"


def make_sink(target: str, options: SinkOptions) -> Sink:
    """Create a web view on the loopback interface."""
    return WebSink(port=options.port)


class WebSink(LiveFeed):
    """Serves a read-only page with the newest image and result on the loopback interface.

    The run never waits for a viewer: `write` keeps a reference, and the server's thread encodes it.
    """

    def __init__(
        self,
        *,
        host: str = LOOPBACK,
        port: int = 8765,
        clock: Clock | None = None,
        limits: HttpLimits = LIMITS,
    ) -> None:
        """Set the address; the server starts when the sink is entered.

        Args:
            host: Must be 127.0.0.1.
            port: TCP port; 0 = any free port.
            clock: Monotonic time.
            limits: Limits on connections and slow clients.

        Raises:
            ConfigError: The host is not 127.0.0.1.
        """
        if host != LOOPBACK:
            raise ConfigError(
                f"{host}: the web view listens on {LOOPBACK} only; use an ssh tunnel to reach it"
            )
        super().__init__(clock or SystemClock(), INTERVAL_S)
        self._port, self._limits = port, limits
        self._ended = False
        self._streams = 0

    @property
    def url(self) -> str:
        """Address of the page; with port 0 it is known only once the sink is entered."""
        return f"http://{LOOPBACK}:{self._port}/"

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return self._thread.server.connections

    def __enter__(self) -> Self:
        listener = listen(LOOPBACK, self._port, "use another port with --port")
        headers = {"Content-Security-Policy": _content_policy(PAGE.read_text(encoding="utf-8"))}
        server = HttpServer(self._router(), headers, OriginPolicy(), self._limits)
        self._thread = ServerThread(server, listener, "web view")
        self._port = self._thread.port
        self._thread.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.__exit__(kind, error, trace)

    def finish(self, summary: dict[str, Any]) -> None:
        self._ended = True

    def describe(self) -> Mapping[str, Any]:
        shown = self._latest is not None
        return {
            "kind": "state",
            "run": "ended" if self._ended else "running" if shown else "waiting",
            "number": self.number,
            "idle_s": self._idle_s(),
            "status": status_to_dict(self._status) if self._status and shown else None,
            "result": self._latest[1].to_dict() if self._latest else None,
        }

    def encode(self, frame: Frame, result: Result, status: Status) -> bytes:
        """Encode the annotated image, large enough to read and small enough for a tunnel."""
        image = annotate(frame, result, status, min_height=min(MIN_HEIGHT, MAX_ENLARGED * frame.size[1]))
        height, width = image.shape[:2]
        scale = MAX_SIDE / max(height, width)
        if scale < 1:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            return cv2.imencode(".jpg", cv2.resize(image, size, interpolation=cv2.INTER_AREA))[1].tobytes()
        return cv2.imencode(".jpg", image)[1].tobytes()

    async def _render(self) -> Snapshot:
        """Encode in the server's own thread; using another one would cost 0.5 % of a core."""
        return self._encode_snapshot()

    def _router(self) -> Router:
        return Router(
            [
                static_route("/", PAGE),
                Route("GET", "/state.json", self._serve_state),
                Route("GET", "/frame.jpg", self._serve_frame),
                Route("GET", "/stream", self._serve_frames),
                Route("GET", "/events", self._serve_states),
            ]
        )

    async def _serve_state(self, request: Request) -> Response:
        return Response(self.state()[1], "application/json")

    async def _serve_frame(self, request: Request) -> Response:
        jpeg = (await self.snapshot()).jpeg
        if not jpeg:
            raise HttpError(503, "there is no image yet")
        return Response(jpeg, "image/jpeg")

    async def _serve_frames(self, request: Request) -> Response:
        return self._stream("multipart/x-mixed-replace; boundary=frame", self._frames())

    async def _serve_states(self, request: Request) -> Response:
        return self._stream("text/event-stream", self._states())

    def _stream(self, media_type: str, parts: AsyncGenerator[bytes, None]) -> Response:
        if self._streams >= MAX_STREAMS:
            raise HttpError(503, f"{MAX_STREAMS} viewers are already connected")
        return Response(parts, media_type)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _frames(self) -> AsyncGenerator[bytes, None]:
        last = False
        with self._counted():
            while not last:
                last = self._stopping  # read first, so that the newest image is still sent
                snapshot = await self.snapshot()
                yield PART % (len(snapshot.jpeg), snapshot.jpeg) if snapshot.jpeg else b""
                await self.wait(snapshot.number)

    async def _states(self) -> AsyncGenerator[bytes, None]:
        last = False
        with self._counted():
            while not last:
                last = self._stopping
                number, state = self.state()
                yield b"data: %b\n\n" % state
                await asyncio.sleep(INTERVAL_S)
                await self.wait(number)


def _content_policy(page: str) -> str:
    """Allow the page its inline style and script and the content of this server, and nothing else."""
    hashes = {}
    for tag in ("style", "script"):
        text = page.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0]
        hashes[tag] = f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    return content_security_policy(**hashes, connect="'self'", img="'self' blob: data:")
