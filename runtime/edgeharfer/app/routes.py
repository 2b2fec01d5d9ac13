"""The app's addresses: the page and its parts, the live view, uploads and reports."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from edgeharfer.app.access import COOKIE, GUESS_WINDOW_S, SESSION_S, Authenticator, Verdict
from edgeharfer.app.jobs import FILES, REPORT, AnalysisJob, JobQueue, digest_file
from edgeharfer.app.live import LiveSession
from edgeharfer.app.models import LiveModels
from edgeharfer.app.settings import Settings
from edgeharfer.app.sources import chosen, find_choices, shown
from edgeharfer.app.workspace import Workspace
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.http.body import BodyDeadline, read_body
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.http.messages import Request, Response, json_response
from edgeharfer.runtime.http.router import Handler, Route, Router, file_response, static_route, static_routes

PAGE = Path(__file__).with_name("page")
MAX_SOURCE_LENGTH = 2000
TICK_S = 1.0
UPLOAD_TYPE = "application/octet-stream"
"""No form of another site can send that; a script of another site asks first, and is refused."""
OPEN_PATHS = frozenset({"/login", "/api/login", "/app.css", "/login.js", "/icon.svg", "/healthz"})
"""Needs no token: the page that asks for it, and whether the app is there."""
_VIEWER = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Routes:
    """What the app answers at each address, while `running`.

    Raises ConfigError or ModelError where messages, context or packages cannot be used.
    """

    live: LiveSession
    jobs: JobQueue

    def __init__(self, settings: Settings, workspace: Workspace, clock: Clock | None = None) -> None:
        self._settings, self._workspace = settings, workspace
        self._clock = clock or SystemClock()
        self._models = LiveModels(settings)
        self._authenticator = Authenticator(settings.token, self._clock)
        self._router = Router(
            [
                *static_routes(PAGE),
                static_route("/login", PAGE / "login.html"),
                Route("GET", "/healthz", self._health),
                Route("POST", "/api/login", self._log_in),
                Route("POST", "/api/logout", self._log_out),
                Route("GET", "/api/about", self._about),
                Route("GET", "/api/sources", self._sources),
                Route("POST", "/api/live", self._start),
                Route("DELETE", "/api/live", self._stop),
                Route("GET", "/api/live/view", self._view),
                Route("POST", "/api/jobs", self._upload),
                Route("GET", "/api/jobs/{job}", self._state),
                Route("DELETE", "/api/jobs/{job}", self._delete),
                Route("GET", "/api/jobs/{job}/digest", self._digest),
                Route("GET", "/api/jobs/{job}/{file}", self._file),
            ],
            head=True,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Handler]:
        """The live view and the analyses, with the handler of all requests."""
        settings = self._settings
        self.live = LiveSession(
            settings.pipeline,
            self._models.scene,
            self._clock,
            idle_stop_s=settings.idle_stop_s,
            follow_redirects=settings.follow_redirects,
            most=settings.limits.viewers,
        )
        self.jobs = JobQueue(settings, self._models.messages, self._workspace, self._clock)
        ticking = asyncio.create_task(self._tick())
        try:
            yield self._handle
        finally:
            ticking.cancel()
            await self.jobs.close()
            await self.live.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.jobs.remove_expired()
            await self.live.end_if_unwatched()

    async def _handle(self, request: Request) -> Response:
        """Raises HttpError without a right token or session where one is needed."""
        if self._authenticator.required and request.path not in OPEN_PATHS:
            verdict = self._verdict(request)
            if verdict == "limited":
                raise _too_many_guesses()
            if verdict == "wrong" and request.path == "/" and request.method in ("GET", "HEAD"):
                raise HttpError(303, "the token is needed", {"Location": "/login"})
            if verdict == "wrong":
                raise HttpError(401, "the token is missing, wrong or too old; open the page again")
        return await self._router(request)

    def _verdict(self, request: Request) -> Verdict:
        scheme, _, token = request.header("authorization").partition(" ")
        if token:
            bearer = token.encode("latin-1").strip()  # the bytes as they were sent
            return (
                self._authenticator.check(bearer, request.client) if scheme.lower() == "bearer" else "wrong"
            )
        return "right" if self._authenticator.knows_session(request.cookie(COOKIE)) else "wrong"

    async def _health(self, request: Request) -> Response:
        return json_response({"status": "healthy"})

    async def _log_in(self, request: Request) -> Response:
        token = (await request.json(self._pace())).get("token")
        if not isinstance(token, str):
            raise HttpError(400, "the token has to be a text")
        verdict = self._authenticator.check(token.strip().encode(), request.client)
        if verdict == "limited":
            raise _too_many_guesses()
        if verdict == "wrong":
            raise HttpError(401, "that is not the token")
        secure = request.header("origin").startswith("https:")
        cookie = _cookie(self._authenticator.admit(), int(SESSION_S), secure=secure)
        return json_response({"admitted": True}, headers=cookie)

    async def _log_out(self, request: Request) -> Response:
        self._authenticator.dismiss(request.cookie(COOKIE))
        return json_response({"admitted": False}, headers=_cookie("", 0))

    async def _about(self, request: Request) -> Response:
        return json_response({**self._models.about(), "asks_token": self._authenticator.required})

    async def _sources(self, request: Request) -> Response:
        return json_response(await asyncio.to_thread(find_choices, self._settings))

    async def _start(self, request: Request) -> Response:
        choice = (await request.json(self._pace())).get("source")
        if (
            not isinstance(choice, str)
            or not choice.strip()
            or len(choice) > MAX_SOURCE_LENGTH
            or "\0" in choice
        ):
            raise HttpError(400, "name a source")
        spec = chosen(choice.strip(), self._settings)
        if spec is None:
            raise HttpError(403, "only the sources that the app was started with can be watched here")
        await self.live.start(spec)
        return json_response({"source": shown(spec)}, 202)

    async def _stop(self, request: Request) -> Response:
        await self.live.stop()
        return json_response({"source": ""})

    async def _view(self, request: Request) -> Response:
        """A picture and its state in one response: the state first, as long as X-State-Bytes says."""
        viewer, after = request.query.get("viewer", ""), request.query.get("after", "")
        if not _VIEWER.fullmatch(viewer) or not re.fullmatch(r"-?\d{1,15}", after):
            raise HttpError(400, "viewer and after are needed")
        found = await self.live.feed.view(viewer, int(after))
        jpeg = found.jpeg if found.number != int(after) else b""
        return Response(found.state + jpeg, UPLOAD_TYPE, headers={"X-State-Bytes": str(len(found.state))})

    async def _upload(self, request: Request) -> Response:
        if request.media_type != UPLOAD_TYPE:
            raise HttpError(415, f"send the bytes of the file as {UPLOAD_TYPE}")
        if request.body.length == 0:
            raise HttpError(400, "the file is empty")
        job = self.jobs.open(request.query.get("name", ""), request.body.length, request.client)
        await self.jobs.receive(job, read_body(request.body, job.pace))
        return json_response(self.jobs.state(job), 202)

    async def _state(self, request: Request) -> Response:
        return json_response(self.jobs.state(self._job(request)))

    async def _delete(self, request: Request) -> Response:
        await self.jobs.cancel(self._job(request))
        return json_response({"id": request.params["job"], "phase": "gone"})

    async def _digest(self, request: Request) -> Response:
        path = digest_file(self._finished(request))
        return Response(await asyncio.to_thread(path.read_bytes), "application/json")

    async def _file(self, request: Request) -> Response:
        job, file = self._finished(request), request.params["file"]
        if file not in FILES:
            raise HttpError(404, "there is no such file in a report")
        return file_response(job.folder / REPORT / file, FILES[file], f"{job.name}-{file}")

    def _pace(self) -> BodyDeadline:
        limits = self._settings.limits
        return BodyDeadline(self._clock, limits, limits.body_s)

    def _job(self, request: Request) -> AnalysisJob:
        return self.jobs.get(request.params["job"])

    def _finished(self, request: Request) -> AnalysisJob:
        job = self._job(request)
        if job.phase != "done":
            raise HttpError(409, "the analysis is not done")
        return job


def _cookie(session: str, age_s: int, *, secure: bool = False) -> dict[str, str]:
    flags = f"HttpOnly; Max-Age={age_s}; Path=/; SameSite=strict{'; Secure' if secure else ''}"
    return {"Set-Cookie": f"{COOKIE}={session}; {flags}"}


def _too_many_guesses() -> HttpError:
    why = "too many wrong tokens from this address; wait a minute, or use the right one"
    return HttpError(429, why, {"Retry-After": f"{GUESS_WINDOW_S:.0f}"})
