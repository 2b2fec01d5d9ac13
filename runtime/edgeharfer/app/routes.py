"""The HTTP routes of the app: page, login, live view, uploads and reports."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from edgeharfer.app.access import COOKIE, SESSION_S, WRONG_TOKEN_WINDOW_S, Authenticator, Verdict
from edgeharfer.app.browser_camera import MAX_IMAGE_BYTES, BrowserCamera, receive_images
from edgeharfer.app.jobs import FILES, REPORT, AnalysisJob, JobQueue, digest_file
from edgeharfer.app.lesson import MAX_EXAMPLE_BYTES, ClassLesson
from edgeharfer.app.live import LiveSession
from edgeharfer.app.models import LiveModels
from edgeharfer.app.settings import Settings
from edgeharfer.app.sources import display_name, list_sources, resolve_choice
from edgeharfer.app.websocket import WebSocket, upgrade
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
"""Media type of uploads. Cross-site forms cannot send it, and scripts need a CORS preflight, which fails."""
OPEN_PATHS = frozenset(
    {"/login", "/api/login", "/app.css", "/login.js", "/parts.js", "/icon.svg", "/healthz"}
)
"""Paths without a token: the login page and its files, and the health check."""
_VIEWER = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Routes:
    """The handlers of all routes, with the live view and the job queue behind them.

    Args:
        settings: The settings of the app.
        workspace: Where uploads and reports are stored.
        clock: The clock.

    Raises:
        ConfigError: Messages or context table cannot be used.
        ModelError: The emotion package cannot be used.
    """

    live: LiveSession
    jobs: JobQueue
    lesson: ClassLesson

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
                Route("GET", "/api/live/camera", self._camera),
                Route("POST", "/api/jobs", self._upload),
                Route("GET", "/api/jobs/{job}", self._state),
                Route("GET", "/api/lesson", self._lesson),
                Route("POST", "/api/lesson/examples", self._add_example),
                Route("DELETE", "/api/lesson/examples", self._remove_examples),
                Route("POST", "/api/lesson", self._teach),
                Route("DELETE", "/api/lesson", self._clear_lesson),
                Route("POST", "/api/lesson/try", self._try_lesson),
                Route("GET", "/api/lesson/package.zip", self._lesson_package),
                Route("DELETE", "/api/jobs/{job}", self._delete),
                Route("GET", "/api/jobs/{job}/digest", self._digest),
                Route("GET", "/api/jobs/{job}/{file}", self._file),
            ],
            head=True,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Handler]:
        """Run the live view and the job queue; yields the handler of all requests."""
        settings = self._settings
        self.live = LiveSession(
            settings.pipeline,
            self._models.scene,
            self._clock,
            idle_stop_s=settings.idle_stop_s,
            follow_redirects=settings.follow_redirects,
            decode=settings.decode,
            max_viewers=settings.limits.viewers,
        )
        self.jobs = JobQueue(settings, self._models.messages, self._workspace, self._clock)
        self.lesson = ClassLesson(settings, self._workspace)
        ticking = asyncio.create_task(self._tick())
        try:
            yield self._handle
        finally:
            ticking.cancel()
            await self.jobs.close()
            await self.lesson.clear()
            await self.live.stop()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.jobs.remove_expired()
            await self.live.stop_if_unwatched()

    async def _handle(self, request: Request) -> Response:
        """Handle a request.

        Raises:
            HttpError: A token is needed and neither the token nor the session is valid.
        """
        if self._authenticator.required and request.path not in OPEN_PATHS:
            verdict = self._verdict(request)
            if verdict == "limited":
                raise _too_many_wrong_tokens()
            if verdict == "wrong" and request.path == "/" and request.method in ("GET", "HEAD"):
                raise HttpError(303, "log in first", {"Location": "/login"})
            if verdict == "wrong":
                raise HttpError(401, "missing or invalid token, or expired session; log in again")
        return await self._router(request)

    def _verdict(self, request: Request) -> Verdict:
        scheme, _, token = request.header("authorization").partition(" ")
        if token:
            bearer = token.encode("latin-1").strip()  # the raw bytes of the header
            return (
                self._authenticator.check(bearer, request.client) if scheme.lower() == "bearer" else "wrong"
            )
        return "right" if self._authenticator.is_valid_session(request.cookie(COOKIE)) else "wrong"

    async def _health(self, request: Request) -> Response:
        return json_response({"status": "healthy"})

    async def _log_in(self, request: Request) -> Response:
        token = (await request.json(self._body_deadline())).get("token")
        if not isinstance(token, str):
            raise HttpError(400, "token must be a string")
        verdict = self._authenticator.check(token.strip().encode(), request.client)
        if verdict == "limited":
            raise _too_many_wrong_tokens()
        if verdict == "wrong":
            raise HttpError(401, "wrong token")
        secure = request.header("origin").startswith("https:")
        cookie = _cookie(self._authenticator.create_session(), int(SESSION_S), secure=secure)
        return json_response({"admitted": True}, headers=cookie)

    async def _log_out(self, request: Request) -> Response:
        self._authenticator.end_session(request.cookie(COOKIE))
        return json_response({"admitted": False}, headers=_cookie("", 0))

    async def _about(self, request: Request) -> Response:
        return json_response({**self._models.about(), "asks_token": self._authenticator.required})

    async def _sources(self, request: Request) -> Response:
        return json_response(await asyncio.to_thread(list_sources, self._settings))

    async def _start(self, request: Request) -> Response:
        choice = (await request.json(self._body_deadline())).get("source")
        if (
            not isinstance(choice, str)
            or not choice.strip()
            or len(choice) > MAX_SOURCE_LENGTH
            or "\0" in choice
        ):
            raise HttpError(400, f"source must be a string of 1 to {MAX_SOURCE_LENGTH} characters")
        spec = resolve_choice(choice.strip(), self._settings)
        if spec is None:
            raise HttpError(403, "other machines can watch only the sources that the app was started with")
        await self.live.start(spec)
        return json_response({"source": display_name(spec)}, 202)

    async def _stop(self, request: Request) -> Response:
        await self.live.stop()
        return json_response({"source": ""})

    async def _view(self, request: Request) -> Response:
        """The state as JSON, whose length is in X-State-Bytes, followed by the picture as JPEG."""
        viewer, after = request.query.get("viewer", ""), request.query.get("after", "")
        if not _VIEWER.fullmatch(viewer) or not re.fullmatch(r"-?\d{1,15}", after):
            raise HttpError(400, "the query parameters viewer and after are required")
        snapshot = await self.live.feed.view(viewer, int(after))
        jpeg = snapshot.jpeg if snapshot.number != int(after) else b""
        return Response(
            snapshot.state + jpeg, UPLOAD_TYPE, headers={"X-State-Bytes": str(len(snapshot.state))}
        )

    async def _camera(self, request: Request) -> Response:
        """A WebSocket for the images of the browser's camera."""
        image_s = self._settings.limits.image_s
        return upgrade(request, self._watch_browser, max_bytes=MAX_IMAGE_BYTES, message_s=image_s)

    async def _watch_browser(self, socket: WebSocket) -> None:
        camera = BrowserCamera(self._clock)
        await self.live.start_source(camera.name, lambda stopping: camera)
        await receive_images(socket, camera)

    async def _upload(self, request: Request) -> Response:
        if request.media_type != UPLOAD_TYPE:
            raise HttpError(415, f"send the file as {UPLOAD_TYPE}")
        if request.body.length == 0:
            raise HttpError(400, "the file is empty")
        name, annotated = request.query.get("name", ""), request.query.get("annotated") == "1"
        job = self.jobs.open(name, request.body.length, request.client, annotated=annotated)
        await self.jobs.receive(job, read_body(request.body, job.deadline))
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
            raise HttpError(404, "unknown report file")
        return file_response(job.folder / REPORT / file, FILES[file], f"{job.name}-{file}")

    async def _lesson(self, request: Request) -> Response:
        return json_response(self.lesson.state())

    async def _add_example(self, request: Request) -> Response:
        if request.media_type != UPLOAD_TYPE:
            raise HttpError(415, f"send the clip as {UPLOAD_TYPE}")
        if (request.body.length or 0) > MAX_EXAMPLE_BYTES:
            raise HttpError(413, f"an example can be at most {MAX_EXAMPLE_BYTES // 10**6} MB")
        limits = self._settings.limits
        deadline = BodyDeadline(self._clock, limits, limits.upload_s)
        await self.lesson.add(request.query.get("label", ""), read_body(request.body, deadline))
        return json_response(self.lesson.state(), 201)

    async def _remove_examples(self, request: Request) -> Response:
        self.lesson.remove(request.query.get("label", ""))
        return json_response(self.lesson.state())

    async def _teach(self, request: Request) -> Response:
        self.lesson.start()
        return json_response(self.lesson.state(), 202)

    async def _clear_lesson(self, request: Request) -> Response:
        await self.live.use_action(None)
        await self.lesson.clear()
        return json_response(self.lesson.state())

    async def _try_lesson(self, request: Request) -> Response:
        """Use the taught package in the live view from its next start on."""
        if self._settings.signature_key is not None:
            raise HttpError(403, "this app only runs signed packages: save the package and sign it first")
        await self.live.use_action(self._taught())
        return json_response(self.lesson.state())

    async def _lesson_package(self, request: Request) -> Response:
        package = self._taught()
        path = await asyncio.to_thread(shutil.make_archive, str(package), "zip", package.parent, package.name)
        return file_response(Path(path), "application/zip", Path(path).name)

    def _taught(self) -> Path:
        if (package := self.lesson.package) is None:
            raise HttpError(409, "nothing has been taught yet")
        return package

    def _body_deadline(self) -> BodyDeadline:
        limits = self._settings.limits
        return BodyDeadline(self._clock, limits, limits.body_s)

    def _job(self, request: Request) -> AnalysisJob:
        return self.jobs.get(request.params["job"])

    def _finished(self, request: Request) -> AnalysisJob:
        job = self._job(request)
        if job.phase != "done":
            raise HttpError(409, "the analysis has not finished")
        return job


def _cookie(session: str, age_s: int, *, secure: bool = False) -> dict[str, str]:
    flags = f"HttpOnly; Max-Age={age_s}; Path=/; SameSite=strict{'; Secure' if secure else ''}"
    return {"Set-Cookie": f"{COOKIE}={session}; {flags}"}


def _too_many_wrong_tokens() -> HttpError:
    reason = "too many wrong tokens from this address; wait a minute or use the correct token"
    return HttpError(429, reason, {"Retry-After": f"{WRONG_TOKEN_WINDOW_S:.0f}"})
