"""Routing of requests, static files and downloads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from edgeharfer.runtime.http.body import PIECE_BYTES
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.messages import Request, Response

Handler = Callable[[Request], Awaitable[Response]]
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Route:
    """A handler for a method and path. A parameter such as {job} in "/jobs/{job}" matches one segment."""

    def __init__(self, method: str, path: str, handler: Handler) -> None:
        self.method, self.handler = method, handler
        self._path = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)), re.DOTALL)

    def match(self, path: str) -> dict[str, str] | None:
        """Return the path parameters, or None if the path does not match."""
        found = self._path.fullmatch(path)
        return None if found is None else found.groupdict()


class Router:
    """A handler that dispatches each request to the first matching route."""

    def __init__(self, routes: Sequence[Route], *, head: bool = False) -> None:
        """Set the routes.

        Args:
            routes: Routes in order of precedence.
            head: Whether HEAD requests are handled by GET routes.
        """
        self._routes, self._head = routes, head

    async def __call__(self, request: Request) -> Response:
        method = "GET" if self._head and request.method == "HEAD" else request.method
        allowed = set()
        for route in self._routes:
            params = route.match(request.path)
            if params is not None and route.method == method:
                return await route.handler(replace(request, params=params))
            if params is not None:
                allowed.add(route.method)
        if allowed and method != "GET":
            raise HttpError(405, f"method {method} not allowed", {"Allow": ", ".join(sorted(allowed))})
        raise HttpError(404, "not found")


def static_routes(folder: Path, index: str = "index.html") -> list[Route]:
    """Return routes for the files of a folder, which are kept in memory; the index is at "/"."""
    return [
        static_route("/" if file.name == index else f"/{file.name}", file)
        for file in sorted(folder.iterdir())
        if file.suffix in MEDIA_TYPES
    ]


def static_route(path: str, file: Path) -> Route:
    """Return a route for a file, which is kept in memory."""
    response = Response(file.read_bytes(), MEDIA_TYPES[file.suffix])

    async def handle(request: Request) -> Response:
        return response

    return Route("GET", path, handle)


def file_response(path: Path, media_type: str, name: str) -> Response:
    """Return a response with a file as an attachment.

    Args:
        path: File to send.
        media_type: Content-Type.
        name: File name for the browser.

    Raises:
        HttpError: 404, the file does not exist.
    """

    async def pieces() -> AsyncGenerator[bytes, None]:
        with await asyncio.to_thread(path.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece

    try:
        length = path.stat().st_size
    except OSError as error:
        raise HttpError(404, "file not found") from error
    quoted = quote(name, safe="")
    shown = f'filename="{name}"' if quoted == name else f"filename*=utf-8''{quoted}"
    headers = {"Content-Disposition": f"attachment; {shown}"}
    return Response(pieces(), media_type, headers=headers, length=length)
