"""Analysis jobs: uploads are received, analysed one at a time, and kept for a limited time."""

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

from edgeharfer.app.annotated import ANNOTATED
from edgeharfer.app.settings import MEGABYTE, Settings, UserLimits
from edgeharfer.app.sniff import HEAD_BYTES, sniff
from edgeharfer.app.wording import page_message
from edgeharfer.app.worker import DIGEST, AnalysisRequest
from edgeharfer.app.workspace import Workspace
from edgeharfer.report.inputs import folder_name
from edgeharfer.runtime.child import start_child, stop_child
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.http.body import BodyDeadline
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.timeouts import Timeout, timeout

Phase = Literal["receiving", "waiting", "working", "done", "failed", "cancelled"]
FILES: Mapping[str, str] = {
    "report.pdf": "application/pdf",
    "report.html": "text/html; charset=utf-8",
    "frames.csv": "text/csv; charset=utf-8",
    "actions.csv": "text/csv; charset=utf-8",
    "summary.json": "application/json",
    ANNOTATED: "video/mp4",
}
"""Files of a report that can be downloaded, with their media types."""
REPORT = "report"
MIN_FREE_BYTES = 200 * MEGABYTE
"""Disk space that an upload leaves free, for the report and for other programs."""
STOP_TIMEOUT_S = 2.0
MAX_REPORTS = 32
_MAX_NAME = 60
_OPEN = ("receiving", "waiting", "working")

_log = logging.getLogger(__name__)


@dataclass
class AnalysisJob:
    """One upload and its analysis.

    Attributes:
        id: Random id.
        folder: Private folder of the job.
        name: File name without its suffix.
        address: Client address of the sender.
        deadline: Deadline of the upload, and whether it is slow.
        receive_timeout: Ends the upload when a newer one takes its place.
        phase: What the job is doing.
        share: Share of the analysis that is done, 0 to 1.
        error: Why the job failed, "" if it did not.
        still: Whether the upload is a picture.
        annotated: Whether a copy of a video with boxes and names was asked for.
        file: The uploaded file, None until it is complete.
        ended_s: When the analysis ended, in monotonic seconds.
        task: The running analysis.
    """

    id: str
    folder: Path
    name: str
    address: str
    deadline: BodyDeadline
    receive_timeout: Timeout = field(default_factory=lambda: timeout(None))
    phase: Phase = "receiving"
    share: float = 0.0
    error: str = ""
    still: bool = False
    annotated: bool = False
    file: Path | None = None
    ended_s: float | None = None
    task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the upload or its analysis is still going on."""
        return self.phase in _OPEN

    def to_dict(self, ahead: int) -> dict[str, Any]:
        """The state as a JSON-serialisable dictionary; `ahead` is the number of jobs before this one."""
        return {
            "id": self.id,
            "name": self.name,
            "phase": self.phase,
            "share": round(self.share, 3),
            "ahead": ahead,
            "error": self.error,
        }


class JobQueue:
    """All jobs of an app. It is created and used in one event loop."""

    def __init__(
        self, settings: Settings, messages: Mapping[str, str], workspace: Workspace, clock: Clock
    ) -> None:
        self._settings, self._messages = settings, dict(messages)
        self._workspace, self._clock = workspace, clock
        self._jobs: dict[str, AnalysisJob] = {}
        self._working = asyncio.Lock()

    def get(self, job_id: str) -> AnalysisJob:
        """The job of this id.

        Raises:
            HttpError: It does not exist, or has expired.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise HttpError(404, "analysis not found; it may have expired")
        return job

    def state(self, job: AnalysisJob) -> dict[str, Any]:
        """The state of a job as a JSON-serialisable dictionary."""
        waiting = [one for one in self._jobs.values() if one.phase in ("waiting", "working")]
        return job.to_dict(waiting.index(job) if job in waiting else 0)

    def open(self, name: str, size: int | None, address: str, *, annotated: bool = False) -> AnalysisJob:
        """Create the job of an upload that is about to be sent.

        Args:
            name: The client's name for the file.
            size: Content-Length in bytes, None if unknown.
            address: Client address, for the limit per address.
            annotated: Whether to write a copy of a video with boxes and names.

        Raises:
            HttpError: The upload is too large, the disk is full, or there are too many jobs.
        """
        limits = self._settings.limits
        if size is not None and size > limits.upload_bytes:
            raise _too_large(limits)
        self._make_room(address)
        if self._workspace.free_bytes() < (size or 0) + MIN_FREE_BYTES:
            raise HttpError(507, "not enough disk space on the server")
        self._remove_oldest()
        stem = folder_name(name)[:_MAX_NAME]
        deadline = BodyDeadline(self._clock, limits, limits.upload_s)
        job = AnalysisJob(secrets.token_urlsafe(16), self._workspace.new_folder(), stem, address, deadline)
        job.annotated = annotated
        self._jobs[job.id] = job
        return job

    async def receive(self, job: AnalysisJob, chunks: AsyncIterator[bytes]) -> None:
        """Store the upload and queue its analysis.

        Raises:
            HttpError: The upload is too large, too slow or of an unsupported format, or cannot be stored. The
                job is then removed.
        """
        try:
            async with job.receive_timeout:
                await self._store(job, chunks)
        except OSError as error:  # TimeoutError is one
            self.remove(job)
            if job.receive_timeout.expired():
                raise HttpError(408, "the upload was too slow and was replaced by another one") from error
            _log.warning("cannot store an upload: %s", error)
            reason = error.strerror or type(error).__name__
            raise HttpError(507, f"the upload cannot be stored: {reason}") from error
        except BaseException:  # includes a client that disconnected
            self.remove(job)
            raise
        job.phase = "waiting"
        job.task = asyncio.create_task(self._work(job))

    def _make_room(self, address: str) -> None:
        """Cancel the slowest upload if there are too many.

        Raises:
            HttpError: There are too many, and none of them is slow.
        """
        limits = self._settings.limits
        sending = [job for job in self._jobs.values() if job.phase == "receiving"]
        own = [job for job in sending if job.address == address]
        if len(own) >= limits.uploads_per_address and not _cancel_slowest(own):
            raise HttpError(503, f"{len(own)} uploads from your address are in progress; try again later")
        if sum(job.is_open for job in self._jobs.values()) >= limits.queued and not _cancel_slowest(sending):
            raise HttpError(503, f"{limits.queued} analyses are already queued; try again later")

    async def cancel(self, job: AnalysisJob) -> None:
        """Stop the analysis if it is running, and remove the job."""
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait([job.task])
        self.remove(job)

    def remove(self, job: AnalysisJob) -> None:
        """Remove the job and its files."""
        self._jobs.pop(job.id, None)
        if job.is_open:
            job.phase = "cancelled"
        shutil.rmtree(job.folder, ignore_errors=True)

    def remove_expired(self) -> None:
        """Remove the jobs whose report is older than `UserLimits.keep_s`."""
        limit_s = self._clock.monotonic() - self._settings.limits.keep_s
        for job in list(self._jobs.values()):
            if job.ended_s is not None and job.ended_s <= limit_s:
                self.remove(job)

    async def close(self) -> None:
        """Cancel and remove all jobs."""
        for job in list(self._jobs.values()):
            await self.cancel(job)

    async def _store(self, job: AnalysisJob, chunks: AsyncIterator[bytes]) -> None:
        limits = self._settings.limits
        part, received, head = job.folder / "part", 0, b""
        with part.open("xb") as file:
            async for chunk in chunks:
                received += len(chunk)
                if received > limits.upload_bytes:
                    raise _too_large(limits)
                if len(head) < HEAD_BYTES:
                    head += chunk
                    _reject_unknown(head)
                await asyncio.to_thread(file.write, chunk)
        kind = sniff(head)
        if kind is None:
            raise _unsupported()
        job.still = kind.still
        job.file = part.rename(job.folder / f"{job.name}{kind.suffix}")

    async def _work(self, job: AnalysisJob) -> None:
        async with self._working:
            job.phase = "working"
            try:
                async with timeout(self._settings.limits.work_s):
                    await self._run_worker(job)
            except TimeoutError:
                job.phase = "failed"
                job.error = "the analysis took too long; use a shorter or smaller video"
            except OSError as error:
                _log.warning("cannot start an analysis: %s", error)
                job.phase = "failed"
                job.error = f"the analysis cannot be started: {error.strerror or type(error).__name__}"
            finally:
                job.ended_s = self._clock.monotonic()
                if job.file is not None:
                    job.file.unlink(missing_ok=True)  # only the report is kept

    async def _run_worker(self, job: AnalysisJob) -> None:
        process = await start_child("edgeharfer.app.worker", MPLBACKEND="Agg")
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(self._make_request(job).to_line())
            async for line in process.stdout:
                self._handle_message(job, json.loads(line))
            await process.wait()
        finally:
            await stop_child(process, STOP_TIMEOUT_S)
        if job.phase == "working":
            job.phase, job.error = "failed", "corrupt or unsupported video: the analysis crashed"
            _log.warning("the analysis process ended unexpectedly with exit code %s", process.returncode)

    def _handle_message(self, job: AnalysisJob, message: Mapping[str, Any]) -> None:
        if "share" in message:
            job.share = float(message["share"])
        elif "failed" in message:
            _log.info("analysis failed: %s", message["failed"])
            job.phase, job.error = "failed", page_message(message["failed"])
        elif "done" in message:
            job.phase, job.share = "done", 1.0

    def _make_request(self, job: AnalysisJob) -> AnalysisRequest:
        settings = self._settings
        return AnalysisRequest(
            file=str(job.file),
            still=job.still,
            folder=str(job.folder / REPORT),
            fps=settings.fps,
            decode=settings.decode,
            pipeline={name: _package_path(value) for name, value in settings.pipeline.items()},
            signature_key=None if settings.signature_key is None else str(settings.signature_key),
            messages=self._messages,
            context=None if settings.context is None else str(settings.context),
            limits=asdict(settings.limits),
            annotated=job.annotated,
        )

    def _remove_oldest(self) -> None:
        """Remove the oldest reports beyond `MAX_REPORTS`."""
        ended = sorted((job.ended_s, job.id) for job in self._jobs.values() if job.ended_s is not None)
        for _, job_id in ended[: max(0, len(ended) - MAX_REPORTS + 1)]:
            self.remove(self._jobs[job_id])


def _cancel_slowest(sending: list[AnalysisJob]) -> bool:
    """Cancel the slowest of these uploads; False if none of them is slow."""
    slow = [job for job in sending if job.phase == "receiving" and job.deadline.slow]
    if not slow:
        return False
    slowest = min(slow, key=lambda job: job.deadline.remaining_s)
    slowest.phase = "cancelled"
    slowest.receive_timeout.reschedule(asyncio.get_running_loop().time())
    return True


def _reject_unknown(head: bytes) -> None:
    """Reject an unsupported format early, before the whole upload was received."""
    if len(head) >= 4096 and sniff(head) is None:
        raise _unsupported()


def _too_large(limits: UserLimits) -> HttpError:
    return HttpError(413, f"the file is larger than {limits.upload_mb:g} MB, the limit for uploads")


def _unsupported() -> HttpError:
    return HttpError(415, "unsupported format: the file content is neither a video nor a picture")


def _package_path(option: Any) -> Any:
    """Replace a loaded package by its folder; the worker loads and checks it itself."""
    return str(option.path) if isinstance(option, Package) else option


def digest_file(job: AnalysisJob) -> Path:
    """Path of the digest that the page shows."""
    return job.folder / REPORT / DIGEST
