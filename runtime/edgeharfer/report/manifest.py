"""`job.jsonl`: what happened to each input of a job, one JSON object per line.

    {"kind":"begin","at":"2026-05-04T10:00:00+00:00","engine":"local","workers":2}
    {"kind":"started","input":"/videos/a.mp4","place":"…"}
    {"kind":"done","place":"…","folder":"a","attempts":1}
    {"kind":"failed","input":"/videos/b.mp4","place":"…","reason":"…","attempts":3}
    {"kind":"end","left":0}

"started" means that the input was handed to the engine. Lines are only appended, and each is written at once,
so every line but the last one is whole, whatever ends the process. A job that is started again adds to it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgeharfer.report.inputs import MANIFEST
from edgeharfer.report.outcome import Outcome
from edgeharfer.report.task import ReportTask
from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.staging import cannot_write


class JobManifest(Closing):
    """Writes the manifest in the folder of all reports.

    Args:
        out: Folder of all reports.
        clock: Source of the times.

    Raises:
        SinkError: The file cannot be written.
    """

    def __init__(self, out: Path, clock: Clock) -> None:
        self._path, self._clock, self._out = out / MANIFEST, clock, out
        try:
            torn = not _ends_with_line(self._path)
            self._file = self._path.open("a", encoding="utf-8", errors="backslashreplace")
            if torn:
                self._file.write("\n")
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def begin(self, engine: str, workers: int | None) -> None:
        """Record the start of the command."""
        self._write({"kind": "begin", "at": self._now(), "engine": engine, "workers": workers})

    def started(self, task: ReportTask) -> None:
        """Record that a task was submitted."""
        self._write({"kind": "started", "input": task.input.spec, "place": task.input.place})

    def ended(self, task: ReportTask, outcome: Outcome) -> None:
        """Record the outcome of a task; one that was stopped leaves no line."""
        if outcome.folder:
            folder = Path(outcome.folder).name
            self._write(
                {"kind": "done", "place": outcome.place, "folder": folder, "attempts": outcome.attempts}
            )
        elif outcome.error:
            self._write(
                {
                    "kind": "failed",
                    "input": task.input.spec,
                    "place": outcome.place,
                    "reason": outcome.error,
                    "attempts": outcome.attempts,
                }
            )

    def end(self, left: int) -> None:
        """Record the end of the command and the number of inputs that are left."""
        self._write({"kind": "end", "at": self._now(), "left": left})

    def close(self) -> None:
        self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.wall(), timezone.utc).isoformat(timespec="seconds")


def read_manifest(out: Path) -> Iterator[dict[str, Any]]:
    """The entries of a manifest. A line that was cut off is ignored."""
    with (out / MANIFEST).open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry


def _ends_with_line(path: Path) -> bool:
    """Whether a file is missing, empty or ends with a whole line; the process may have been killed."""
    if not path.exists() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
