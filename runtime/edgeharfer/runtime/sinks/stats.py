"""The summary of a run as one JSON file (`--stats FILE.json`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink, SinkOptions
from edgeharfer.runtime.sinks.partial import PartialFile, exited_cleanly
from edgeharfer.runtime.staging import cannot_write
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame


def make_sink(target: str, options: SinkOptions) -> Sink:
    """The file of the summary."""
    return StatsFileSink(target)


class StatsFileSink(Sink):
    """Writes the summary when the run finishes; a run that fails leaves no file.

    It is forced to the disk (fsync) before it takes its name, so a power cut leaves the old file or the new.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = PartialFile(Path(path))
        self._whole = False

    def __enter__(self) -> Self:
        self._file.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exited_cleanly(kind) and self._whole:
            self._file.publish()
        else:
            self._file.discard()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        """Nothing: only the end counts here."""

    def finish(self, summary: dict[str, Any]) -> None:
        text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
        try:
            with self._file.temporary.open("w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self._file.target, error) from error
        self._whole = True
