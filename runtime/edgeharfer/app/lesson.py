"""The lesson of the page "Teach": examples that the browser records, the package made from them, trying it.

There is one lesson for each app. Its clips stay in the private folder of the app and are removed with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Literal

from edgeharfer.app.jobs import MIN_FREE_BYTES, STOP_TIMEOUT_S
from edgeharfer.app.lesson_worker import LessonRequest
from edgeharfer.app.settings import Settings
from edgeharfer.app.sniff import HEAD_BYTES, sniff
from edgeharfer.app.wording import page_message
from edgeharfer.app.workspace import Workspace
from edgeharfer.runtime.child import start_child, stop_child
from edgeharfer.runtime.http.errors import HttpError
from edgeharfer.runtime.tasks import ACTION
from edgeharfer.runtime.timeouts import timeout
from edgeharfer.runtime.types import BACKGROUND, UNCERTAIN

LessonPhase = Literal["collecting", "working", "taught", "failed"]
MAX_CLASSES, MAX_EXAMPLES = 12, 20
MAX_EXAMPLE_BYTES = 20 * 10**6
PACKAGE = "taught"
"""Name of the package, and of its folder."""
_LABEL = re.compile(r"\w(?:[\w -]{0,38}\w)?")

_log = logging.getLogger(__name__)


class ClassLesson:
    """The examples of all classes, and the package that was taught from them; for one event loop.

    Args:
        settings: The settings of the app.
        workspace: Where clips and package are stored.
    """

    def __init__(self, settings: Settings, workspace: Workspace) -> None:
        self._settings, self._workspace = settings, workspace
        self._phase: LessonPhase = "collecting"
        self._error, self._share = "", 0.0
        self._result: Mapping[str, Any] | None = None
        self._examples: dict[str, list[Path]] = {}
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._folder: Path | None = None

    def state(self) -> dict[str, Any]:
        """The state as a JSON-serialisable dictionary."""
        return {
            "phase": self._phase,
            "share": round(self._share, 3),
            "error": self._error,
            "classes": [{"label": label, "examples": len(paths)} for label, paths in self._examples.items()],
            "result": self._result,
        }

    @property
    def package(self) -> Path | None:
        """Folder of the taught package; None if there is none."""
        return None if self._result is None or self._folder is None else self._folder / PACKAGE

    async def add(self, label: str, chunks: AsyncIterator[bytes]) -> None:
        """Store one example.

        Args:
            label: Its class.
            chunks: The clip.

        Raises:
            HttpError: The label or the clip cannot be used, or there are too many.
        """
        self._check_idle()
        self._check_label(label)
        if self._workspace.free_bytes() < MIN_FREE_BYTES:
            raise HttpError(507, "not enough disk space on the server")
        content = await _receive(chunks)
        kind = sniff(content[:HEAD_BYTES])
        if kind is None or kind.still:
            raise HttpError(415, "unsupported format: the file content is not a video")
        self._check_idle()
        folder = self._clips() / label
        self._number += 1
        path = folder / f"{self._number}{kind.suffix}"
        try:
            folder.mkdir(exist_ok=True)
            await asyncio.to_thread(path.write_bytes, content)
        except OSError as error:
            raise HttpError(507, f"the clip cannot be stored: {error.strerror}") from error
        self._examples.setdefault(label, []).append(path)

    def remove(self, label: str) -> None:
        """Remove a class and its examples.

        Raises:
            HttpError: There is no such class, or the lesson is being taught.
        """
        self._check_idle()
        if label not in self._examples:
            raise HttpError(404, "no such class")
        del self._examples[label]
        shutil.rmtree(self._clips() / label, ignore_errors=True)

    def start(self) -> None:
        """Start to teach the package in a child process.

        Raises:
            HttpError: It is being taught already.
        """
        self._check_idle()
        self._phase, self._error, self._share = "working", "", 0.0
        self._task = asyncio.create_task(self._work())

    async def clear(self) -> None:
        """Stop, and remove all examples and the package."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder, self._result, self._examples = None, None, {}
        self._phase, self._error = "collecting", ""

    def _clips(self) -> Path:
        if self._folder is None:
            self._folder = self._workspace.new_folder()
            (self._folder / "clips").mkdir()
        return self._folder / "clips"

    def _check_idle(self) -> None:
        if self._phase == "working":
            raise HttpError(409, "teaching is in progress; wait until it has finished")

    def _check_label(self, label: str) -> None:
        if not _LABEL.fullmatch(label) or label.lower() in (BACKGROUND, UNCERTAIN):
            raise HttpError(400, "the name of an action must have 1 to 40 letters, digits, spaces or hyphens")
        others = [one for one in self._examples if one != label]
        if label.lower() in [one.lower() for one in others]:
            raise HttpError(400, "an action with this name already exists, in different case")
        if len(others) >= MAX_CLASSES or len(self._examples.get(label, ())) >= MAX_EXAMPLES:
            raise HttpError(400, f"at most {MAX_CLASSES} actions with {MAX_EXAMPLES} examples each")

    async def _work(self) -> None:
        try:
            async with timeout(self._settings.limits.work_s):
                await self._run_worker()
        except TimeoutError:
            self._fail("teaching took too long; use fewer examples")
        except OSError as error:
            self._fail(f"teaching cannot be started: {error.strerror or type(error).__name__}")

    async def _run_worker(self) -> None:
        clips = self._clips()
        base = self._settings.pipeline.get(ACTION)
        request = LessonRequest(
            data=str(clips),
            out=str(clips.parent / PACKAGE),
            name=PACKAGE,
            base=None if base is None else str(getattr(base, "path", base)),
            memory_mb=self._settings.limits.memory_mb,
            work_s=self._settings.limits.work_s,
        )
        process = await start_child("edgeharfer.app.lesson_worker")
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(request.to_line())
            async for line in process.stdout:
                self._handle_message(json.loads(line))
            await process.wait()
        finally:
            await stop_child(process, STOP_TIMEOUT_S)
        if self._phase == "working":
            self._fail("a clip is corrupt or unsupported: reading it crashed")
            _log.warning("the teaching process ended unexpectedly with exit code %s", process.returncode)

    def _handle_message(self, message: Mapping[str, Any]) -> None:
        if "share" in message:
            self._share = float(message["share"])
        elif "failed" in message:
            self._fail(page_message(message["failed"]))
        elif "taught" in message:
            warnings = [page_message(one) for one in message["taught"]["warnings"]]
            self._result = {**message["taught"], "warnings": warnings}
            self._phase, self._share = "taught", 1.0

    def _fail(self, reason: str) -> None:
        _log.info("teaching failed: %s", reason)
        self._phase, self._error = "failed", reason


async def _receive(chunks: AsyncIterator[bytes]) -> bytes:
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) > MAX_EXAMPLE_BYTES:
            raise HttpError(413, f"an example can be at most {MAX_EXAMPLE_BYTES // 10**6} MB")
    return bytes(content)
