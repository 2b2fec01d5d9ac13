"""The app's addresses: the page and its parts, the live view, uploads and reports."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edgeharfer.app.access import COOKIE, SESSION_S, Authenticator
from edgeharfer.app.answers import Refusal, on_refusal, tell
from edgeharfer.app.body import chunks, order_pace, read_object
from edgeharfer.app.guard import Guard, client_of, too_many_guesses
from edgeharfer.app.jobs import FILES, REPORT, Job, Jobs, digest_file
from edgeharfer.app.live import Live
from edgeharfer.app.models import Models
from edgeharfer.app.settings import Settings
from edgeharfer.app.sources import chosen, find_choices, shown
from edgeharfer.app.uploads import declared_size, refuse_body
from edgeharfer.app.workspace import Workspace
from edgeharfer.runtime.clock import Clock, SystemClock

PAGE = Path(__file__).with_name("page")
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MOST_CHOICE = 2000
TICK_S = 1.0
_VIEWER = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Site:
    """One app: what it holds, and what it answers."""

    live: Live
    jobs: Jobs

    def __init__(self, settings: Settings, workspace: Workspace, clock: Clock | None = None) -> None:
        """Raises ConfigError or ModelError where messages, context or packages cannot be used."""
        self._settings, self._workspace = settings, workspace
        self._clock = clock or SystemClock()
        self._models = Models(settings)
        self._authenticator = Authenticator(settings.token, self._clock)
        self._files = {path.name: path.read_bytes() for path in sorted(PAGE.iterdir()) if path.is_file()}

    def app(self) -> ASGIApp:
        """For an ASGI server."""
        site = Starlette(
            routes=[
                Route("/", self._page),
                Route("/login", self._page),
                Route("/healthz", self._health),
                Route("/api/login", self._log_in, methods=["POST"]),
                Route("/api/logout", self._log_out, methods=["POST"]),
                Route("/api/about", self._about),
                Route("/api/sources", self._sources),
                Route("/api/live", self._start, methods=["POST"]),
                Route("/api/live", self._stop, methods=["DELETE"]),
                Route("/api/live/view", self._view),
                Route("/api/jobs", self._upload, methods=["POST"]),
                Route("/api/jobs/{job}", self._job),
                Route("/api/jobs/{job}", self._drop, methods=["DELETE"]),
                Route("/api/jobs/{job}/digest", self._digest),
                Route("/api/jobs/{job}/{file}", self._file),
                Route("/{file}", self._part),
            ],
            exception_handlers={Refusal: on_refusal},
            lifespan=self._life,
        )
        return Guard(site, self._settings, self._authenticator)

    @contextlib.asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        settings = self._settings
        self.live = Live(
            settings.pipeline,
            self._models.scene,
            self._clock,
            idle_stop_s=settings.idle_stop_s,
            follow_redirects=settings.follow_redirects,
            most=settings.limits.viewers,
        )
        self.jobs = Jobs(settings, self._models.messages, self._workspace, self._clock)
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticking.cancel()
            await self.jobs.close()
            await self.live.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.jobs.tend()
            await self.live.tend()

    async def _page(self, request: Request) -> Response:
        return self._give("login.html" if request.url.path == "/login" else "index.html")

    async def _part(self, request: Request) -> Response:
        return self._give(request.path_params["file"])

    def _give(self, name: str) -> Response:
        kind = KINDS.get(Path(name).suffix)
        if name not in self._files or kind is None:
            raise Refusal(404, "there is nothing at this address")
        return Response(self._files[name], headers={"Content-Type": kind})

    async def _health(self, request: Request) -> Response:
        return tell({"status": "healthy"})

    async def _log_in(self, request: Request) -> Response:
        token = (await self._order(request)).get("token")
        if not isinstance(token, str):
            raise Refusal(400, "the token has to be a text")
        verdict = self._authenticator.check(token.strip().encode(), client_of(request.scope))
        if verdict == "limited":
            raise too_many_guesses()
        if verdict == "wrong":
            raise Refusal(401, "that is not the token")
        answer = tell({"admitted": True})
        answer.set_cookie(
            COOKIE,
            self._authenticator.admit(),
            max_age=int(SESSION_S),
            httponly=True,
            samesite="strict",
            secure=request.headers.get("origin", "").startswith("https:"),
        )
        return answer

    async def _log_out(self, request: Request) -> Response:
        self._authenticator.dismiss(request.cookies.get(COOKIE, ""))
        answer = tell({"admitted": False})
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def _about(self, request: Request) -> Response:
        return tell({**self._models.about(), "asks_token": self._authenticator.required})

    async def _sources(self, request: Request) -> Response:
        return tell(await asyncio.to_thread(find_choices, self._settings))

    async def _start(self, request: Request) -> Response:
        choice = (await self._order(request)).get("source")
        if not isinstance(choice, str) or not choice.strip() or len(choice) > MOST_CHOICE or "\0" in choice:
            raise Refusal(400, "name a source")
        spec = chosen(choice.strip(), self._settings)
        if spec is None:
            raise Refusal(403, "only the sources that the app was started with can be watched here")
        await self.live.start(spec)
        return tell({"source": shown(spec)}, 202)

    async def _stop(self, request: Request) -> Response:
        await self.live.stop()
        return tell({"source": ""})

    async def _view(self, request: Request) -> Response:
        """A picture and its facts in one answer: the facts first, as long as X-State-Bytes says."""
        viewer, after = request.query_params.get("viewer", ""), request.query_params.get("after", "")
        if not _VIEWER.fullmatch(viewer) or not re.fullmatch(r"-?\d{1,15}", after):
            raise Refusal(400, "viewer and after are needed")
        view = await self.live.look(viewer, int(after))
        jpeg = view.jpeg if view.number != int(after) else b""
        headers = {"X-State-Bytes": str(len(view.state)), "Content-Type": "application/octet-stream"}
        return Response(view.state + jpeg, headers=headers)

    async def _upload(self, request: Request) -> Response:
        try:
            size = declared_size(request)
            job = self.jobs.open(request.query_params.get("name", ""), size, client_of(request.scope))
            await self.jobs.receive(job, chunks(request, job.pace))
        except Refusal as refusal:
            return await refuse_body(request, refusal)
        return tell(self.jobs.tell(job), 202)

    async def _job(self, request: Request) -> Response:
        return tell(self.jobs.tell(self._asked(request)))

    async def _drop(self, request: Request) -> Response:
        await self.jobs.cancel(self._asked(request))
        return tell({"id": request.path_params["job"], "phase": "gone"})

    async def _digest(self, request: Request) -> Response:
        path = digest_file(self._finished(request))
        return Response(await asyncio.to_thread(path.read_bytes), media_type="application/json")

    async def _file(self, request: Request) -> Response:
        job, file = self._finished(request), request.path_params["file"]
        if file not in FILES:
            raise Refusal(404, "there is no such file in a report")
        name = f"{job.name}-{file}"
        return FileResponse(job.folder / REPORT / file, media_type=FILES[file], filename=name)

    async def _order(self, request: Request) -> Mapping[str, Any]:
        return await read_object(request, order_pace(self._settings.limits, self._clock))

    def _asked(self, request: Request) -> Job:
        return self.jobs.get(request.path_params["job"])

    def _finished(self, request: Request) -> Job:
        job = self._asked(request)
        if job.phase != "done":
            raise Refusal(409, "the analysis is not done")
        return job
