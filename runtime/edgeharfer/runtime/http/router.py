"""The table of a server's paths."""

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
    """One method and path. A part in braces, such as "/jobs/{job}", takes any name without a slash."""

    def __init__(self, method: str, path: str, handler: Handler) -> None:
        self.method, self.handler = method, handler
        self._path = re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)), re.DOTALL)

    def match(self, path: str) -> dict[str, str] | None:
        """The named parts of a path; None where it is another one."""
        found = self._path.fullmatch(path)
        return None if found is None else found.groupdict()


class Router:
    """A handler that calls that of the first matching route. head: HEAD is answered like GET."""

    def __init__(self, routes: Sequence[Route], *, head: bool = False) -> None:
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
            raise HttpError(405, f"{method} is not allowed here", {"Allow": ", ".join(sorted(allowed))})
        raise HttpError(404, "there is nothing at this address")


def static_routes(folder: Path, index: str = "index.html") -> list[Route]:
    """The files of a folder, read now and kept in memory; the index is at "/"."""
    return [
        static_route("/" if file.name == index else f"/{file.name}", file)
        for file in sorted(folder.iterdir())
        if file.suffix in MEDIA_TYPES
    ]


def static_route(path: str, file: Path) -> Route:
    """One file, read now and kept in memory."""
    response = Response(file.read_bytes(), MEDIA_TYPES[file.suffix])

    async def handle(request: Request) -> Response:
        return response

    return Route("GET", path, handle)


def download(path: Path, media_type: str, name: str) -> Response:
    """A file, read in pieces, that browsers save under a name. Raises HttpError 404 where it is not there."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        with await asyncio.to_thread(path.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece

    try:
        length = path.stat().st_size
    except OSError as error:
        raise HttpError(404, "there is no such file") from error
    quoted = quote(name, safe="")
    shown = f'filename="{name}"' if quoted == name else f"filename*=utf-8''{quoted}"
    headers = {"Content-Disposition": f"attachment; {shown}"}
    return Response(pieces(), media_type, headers=headers, length=length)
