"""Uploads and what becomes of them: received, looked at one after the other, kept for a while, gone."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeharfer.app.settings import MEGABYTE, Settings
from edgeharfer.app.sniff import HEAD_BYTES, sniff
from edgeharfer.app.sources import without_folders
from edgeharfer.app.worker import DIGEST, AnalysisRequest
from edgeharfer.app.workspace import Workspace
from edgeharfer.report.inputs import folder_name
from edgeharfer.runtime.child import start_child, stop_child
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.http.body import BodyDeadline
from edgeharfer.runtime.http.errors import HttpError

Phase = Literal["receiving", "waiting", "working", "done", "failed", "cancelled"]
FILES: Mapping[str, str] = {
    "report.pdf": "application/pdf",
    "frames.csv": "text/csv; charset=utf-8",
    "actions.csv": "text/csv; charset=utf-8",
    "summary.json": "application/json",
}
"""What of a report can be downloaded."""
REPORT = "report"
SPARE_BYTES = 200 * MEGABYTE
"""Left free on the disk: for the report, and for everybody else."""
END_S = 2.0
MAX_KEPT = 32
_MAX_NAME = 60
_OPEN = ("receiving", "waiting", "working")

_log = logging.getLogger(__name__)


@dataclass
class AnalysisJob:
    """One upload.

    address: of the client that sends it. pace: of its bytes. patience: ends the wait for them when
    another upload takes its place. share: of the work that is done. ended_s: when it was done, failed or
    cancelled.
    """

    id: str
    folder: Path
    name: str
    address: str
    pace: BodyDeadline
    patience: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    phase: Phase = "receiving"
    share: float = 0.0
    error: str = ""
    still: bool = False
    file: Path | None = None
    ended_s: float | None = None
    task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return self.phase in _OPEN

    def to_dict(self, ahead: int) -> dict[str, Any]:
        """Ready for JSON. ahead: how many go first."""
        return {
            "id": self.id,
            "name": self.name,
            "phase": self.phase,
            "share": round(self.share, 3),
            "ahead": ahead,
            "error": self.error,
        }


class JobQueue:
    """All uploads of an app. Made, and used, in one event loop."""

    def __init__(
        self, settings: Settings, messages: Mapping[str, str], workspace: Workspace, clock: Clock
    ) -> None:
        self._settings, self._messages = settings, dict(messages)
        self._workspace, self._clock = workspace, clock
        self._jobs: dict[str, AnalysisJob] = {}
        self._working = asyncio.Lock()

    def get(self, job_id: str) -> AnalysisJob:
        """Raises HttpError for an upload that is not, or no longer, there."""
        job = self._jobs.get(job_id)
        if job is None:
            raise HttpError(404, "no such analysis; it may have been cleared away")
        return job

    def state(self, job: AnalysisJob) -> dict[str, Any]:
        """The state of an upload, ready for JSON."""
        waiting = [one for one in self._jobs.values() if one.phase in ("waiting", "working")]
        return job.to_dict(waiting.index(job) if job in waiting else 0)

    def open(self, name: str, size: int | None, address: str) -> AnalysisJob:
        """Room for an upload that is about to come.

        Args:
            name: Of the file, as its sender says.
            size: As its sender says, None where that is not told.
            address: Of the sender, as limits count it.

        Raises:
            HttpError: It is too large, or too many are sent, wait or are analysed already.
        """
        limits = self._settings.limits
        if size is not None and size > limits.upload_bytes:
            raise HttpError(413, f"larger than {limits.upload_mb:g} MB, which is the most")
        self._make_room(address)
        if self._workspace.free_bytes() < (size or 0) + SPARE_BYTES:
            raise HttpError(507, "there is no room on the disk for it")
        self._drop_oldest()
        stem = folder_name(name)[:_MAX_NAME]
        pace = BodyDeadline(self._clock, limits, limits.upload_s)
        job = AnalysisJob(secrets.token_urlsafe(16), self._workspace.new_folder(), stem, address, pace)
        self._jobs[job.id] = job
        return job

    async def receive(self, job: AnalysisJob, chunks: AsyncIterator[bytes]) -> None:
        """Take in the bytes and queue the work. Raises HttpError, and forgets all, where that cannot be."""
        try:
            async with job.patience:
                await self._store(job, chunks)
        except OSError as error:  # TimeoutError is one
            self.remove(job)
            if job.patience.expired():
                raise HttpError(408, "the upload was too slow, and another one took its place") from error
            _log.warning("an upload cannot be stored: %s", error)
            raise HttpError(507, f"cannot be stored: {error.strerror or type(error).__name__}") from error
        except BaseException:  # the sender left, too
            self.remove(job)
            raise
        job.phase = "waiting"
        job.task = asyncio.create_task(self._work(job))

    def _make_room(self, address: str) -> None:
        """Raises HttpError where no place is free and every upload moves."""
        limits = self._settings.limits
        sending = [job for job in self._jobs.values() if job.phase == "receiving"]
        own = [job for job in sending if job.address == address]
        if len(own) >= limits.uploads_per_address and not _give_up_slowest(own):
            raise HttpError(503, f"{len(own)} uploads come from your address already; try again later")
        if sum(job.is_open for job in self._jobs.values()) >= limits.queued and not _give_up_slowest(sending):
            raise HttpError(503, f"{limits.queued} analyses wait already; try again later")

    async def cancel(self, job: AnalysisJob) -> None:
        """Stop the work, if it goes on, and clear everything of it away."""
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait([job.task])
        self.remove(job)

    def remove(self, job: AnalysisJob) -> None:
        """Forget it, with its files."""
        self._jobs.pop(job.id, None)
        if job.is_open:
            job.phase = "cancelled"
        shutil.rmtree(job.folder, ignore_errors=True)

    def remove_expired(self) -> None:
        """Clear away what is older than reports are kept."""
        limit_s = self._clock.monotonic() - self._settings.limits.keep_s
        for job in list(self._jobs.values()):
            if job.ended_s is not None and job.ended_s <= limit_s:
                self.remove(job)

    async def close(self) -> None:
        """End all work and clear all away."""
        for job in list(self._jobs.values()):
            await self.cancel(job)

    async def _store(self, job: AnalysisJob, chunks: AsyncIterator[bytes]) -> None:
        limits = self._settings.limits
        part, received, head = job.folder / "part", 0, b""
        with part.open("xb") as file:
            async for chunk in chunks:
                received += len(chunk)
                if received > limits.upload_bytes:
                    raise HttpError(413, f"larger than {limits.upload_mb:g} MB, which is the most")
                if len(head) < HEAD_BYTES:
                    head += chunk
                    _refuse_texts(head)
                await asyncio.to_thread(file.write, chunk)
        kind = sniff(head)
        if kind is None:
            raise HttpError(415, "neither a video nor a picture, whatever its name says")
        job.still = kind.still
        job.file = part.rename(job.folder / f"{job.name}{kind.suffix}")

    async def _work(self, job: AnalysisJob) -> None:
        async with self._working:
            job.phase = "working"
            try:
                async with asyncio.timeout(self._settings.limits.work_s):
                    await self._follow(job)
            except TimeoutError:
                job.phase, job.error = "failed", "it takes too long: cut it, or make it smaller"
            except OSError as error:
                _log.warning("an analysis cannot be started: %s", error)
                job.phase = "failed"
                job.error = f"cannot be started: {error.strerror or type(error).__name__}"
            finally:
                job.ended_s = self._clock.monotonic()
                if job.file is not None:
                    job.file.unlink(missing_ok=True)  # nothing of the upload is kept but its report

    async def _follow(self, job: AnalysisJob) -> None:
        process = await start_child("edgeharfer.app.worker", MPLBACKEND="Agg")
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(self._order(job).to_line())
            async for line in process.stdout:
                self._take(job, json.loads(line))
            await process.wait()
        finally:
            await stop_child(process, END_S)
        if job.phase == "working":
            job.phase, job.error = "failed", "the decoder gave up on it: it is damaged, or no usual video"
            _log.warning("an analysis ended by itself with exit code %s", process.returncode)

    def _take(self, job: AnalysisJob, news: Mapping[str, Any]) -> None:
        if "share" in news:
            job.share = float(news["share"])
        elif "failed" in news:
            _log.info("an analysis failed: %s", news["failed"])
            job.phase, job.error = "failed", without_folders(str(news["failed"]))
        elif "done" in news:
            job.phase, job.share = "done", 1.0

    def _order(self, job: AnalysisJob) -> AnalysisRequest:
        settings = self._settings
        return AnalysisRequest(
            file=str(job.file),
            still=job.still,
            folder=str(job.folder / REPORT),
            fps=settings.fps,
            pipeline=dict(settings.pipeline),
            messages=self._messages,
            context=None if settings.context is None else str(settings.context),
            limits=asdict(settings.limits),
        )

    def _drop_oldest(self) -> None:
        """Reports that were kept longest make room for new ones."""
        ended = sorted((job.ended_s, job.id) for job in self._jobs.values() if job.ended_s is not None)
        for _, job_id in ended[: max(0, len(ended) - MAX_KEPT + 1)]:
            self.remove(self._jobs[job_id])


def _give_up_slowest(sending: list[AnalysisJob]) -> bool:
    """End the slowest of these uploads; False where all of them move."""
    slow = [job for job in sending if job.phase == "receiving" and job.pace.slow]
    if not slow:
        return False
    slowest = min(slow, key=lambda job: job.pace.left_s)
    slowest.phase = "cancelled"
    slowest.patience.reschedule(asyncio.get_running_loop().time())
    return True


def _refuse_texts(head: bytes) -> None:
    """Before all of it has come: what begins like nothing known will not become a video."""
    if len(head) >= 4096 and sniff(head) is None:
        raise HttpError(415, "neither a video nor a picture, whatever its name says")


def digest_file(job: AnalysisJob) -> Path:
    """Where the page's view of a report lies."""
    return job.folder / REPORT / DIGEST
