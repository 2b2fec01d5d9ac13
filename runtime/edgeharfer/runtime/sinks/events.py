"""Results as JSON lines, to a file or to standard output (`--events FILE|-`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from edgeharfer.runtime.clock import ClockJump
from edgeharfer.runtime.errors import SinkError
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink, SinkOptions
from edgeharfer.runtime.sinks.event_file import FileWriter
from edgeharfer.runtime.sinks.stream import StreamWriter
from edgeharfer.runtime.staging import cannot_write
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.strict_json import compact_json
from edgeharfer.runtime.types import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

REPORTED_STATES = frozenset({"live", "stalled", "frozen", "lost"})
"""Source states that are written; those between reconnection attempts are not."""


def cut_to_dict(result: Result) -> dict[str, Any]:
    """The `cut` line before the first result of a new scene, ready for JSON."""
    return {"kind": "cut", **_source(result.source), "seq": result.seq, "pts_s": round(result.pts_s, 4)}


def summaries_to_dicts(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The `summary` line that ends a run, after one for each source if there are several; ready for JSON."""
    whole = dict(summary)
    for source, part in whole.pop("sources", {}).items():
        yield {"kind": "summary", "source": source, **part}
    yield {"kind": "summary", **whole}


def state_to_dict(status: Status) -> dict[str, Any]:
    """The `state` line of a live source that stalls, freezes, is lost or recovers, ready for JSON."""
    elapsed_s = round(status.elapsed_s, 2)
    return {"kind": "state", **_source(status.source), "state": status.source_state, "elapsed_s": elapsed_s}


def clock_to_dict(jump: ClockJump, elapsed_s: float, source: str = "") -> dict[str, Any]:
    """The `clock` line when the wall clock was changed, with expected and new time; ready for JSON."""
    return {
        "kind": "clock",
        **_source(source),
        "was_s": round(jump.was_s, 2),
        "is_s": round(jump.is_s, 2),
        "elapsed_s": round(elapsed_s, 2),
    }


def _source(name: str) -> dict[str, str]:
    return {"source": name} if name else {}


def make_sink(target: str, options: SinkOptions) -> Sink:
    """Create a sink that writes JSON lines to a file, or to standard output for "-"."""
    return EventsSink(target, stopping=options.stopping)


class EventsSink(Sink):
    """Writes one compact JSON object per line to a file or standard output.

    An existing file of events is continued; an incomplete last line, left by a killed process, is removed
    first. If a write fails (disk full), SinkError is raised, the incomplete line is removed, and the next
    line is written as usual. If the reader of a pipe closes it (`| head`), `closed` becomes true and the
    remaining lines are dropped without an error.

    Each line is handed to the operating system at once and survives the death of the process. Lines are not
    flushed to the disk (fsync) one by one, which would wear out flash cards and slow down the run: a power
    failure may lose the last half minute. The file is flushed when the sink is closed.
    """

    uses_pictures = False

    def __init__(self, path: str | Path, *, stopping: Callable[[], bool] = lambda: False) -> None:
        """Set the target; it is opened when the sink is entered.

        Args:
            path: File, or "-" for standard output.
            stopping: Polled while standard output has no room; once true, the sink stops waiting.
        """
        self._path = str(path)
        self._writer: _Writer | None = None
        self._states: dict[str, str] = {}  # by source
        self._jump: ClockJump | None = None
        self.closed = False
        self._stopping = stopping

    def __enter__(self) -> Self:
        if self._path == "-":
            self._writer = StreamWriter(sys.stdout, self._stopping)
        else:
            self._writer = FileWriter(Path(self._path))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self.refresh(status)
        if result.cut:
            self._write_line(cut_to_dict(result))
        self._write_line(result.to_dict())

    def refresh(self, status: Status) -> None:
        """Write changes of the source state and of the wall clock, also while there are no results."""
        state = status.source_state
        if state in REPORTED_STATES and state != self._states.get(status.source, "live"):
            self._write_line(state_to_dict(status))
            self._states[status.source] = state
        if status.clock_jump is not None and status.clock_jump is not self._jump:
            self._write_line(clock_to_dict(status.clock_jump, status.elapsed_s, status.source))
            self._jump = status.clock_jump

    def finish(self, summary: dict[str, Any]) -> None:
        for line in summaries_to_dicts(summary):
            self._write_line(line)

    def _write_line(self, content: dict[str, Any]) -> None:
        if self._writer is None:
            raise SinkError(f"{self._path}: not open; use the sink in a with block")
        if self.closed:
            return
        line = compact_json(content) + "\n"
        try:
            self._writer.write(line)
        except BrokenPipeError:
            self.closed = True
            self._writer.handle_broken_pipe()
        except OSError as error:
            raise cannot_write("standard output" if self._path == "-" else self._path, error) from error


class _Writer(Protocol):
    def write(self, line: str) -> None: ...

    def handle_broken_pipe(self) -> None: ...

    def close(self) -> None: ...
