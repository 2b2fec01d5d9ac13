"""The summary of a run as one JSON file (`--stats FILE.json`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink, SinkOptions
from edgeharfer.runtime.sinks.partial import PartialFile, exited_cleanly
from edgeharfer.runtime.staging import cannot_write
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame

if TYPE_CHECKING:
    from typing_extensions import Self


def make_sink(target: str, options: SinkOptions) -> Sink:
    """Create a sink that writes the summary to a file."""
    return StatsFileSink(target)


class StatsFileSink(Sink):
    """Writes the summary when the run finishes; a run that fails leaves no file.

    The file is flushed to the disk (fsync) before it is renamed, so a power failure leaves either the old or
    the new file.
    """

    uses_pictures = uses_status = False

    def __init__(self, path: str | Path) -> None:
        self._file = PartialFile(Path(path))
        self._complete = False

    def __enter__(self) -> Self:
        self._file.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if exited_cleanly(kind) and self._complete:
            self._file.publish()
        else:
            self._file.discard()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        """Do nothing: only the summary is written."""

    def finish(self, summary: dict[str, Any]) -> None:
        text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
        try:
            with self._file.temporary.open("w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise cannot_write(self._file.target, error) from error
        self._complete = True
