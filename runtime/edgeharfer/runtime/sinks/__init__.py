"""Where results go: a window, an annotated video, JSON lines, a file of statistics."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from ..stats import Status
from ..types import Frame, Result
from .display import display_available, window_lack
from .events import EventsSink, summary_to_dict
from .stats_file import StatsFileSink
from .video import VideoSink
from .window import WindowSink

__all__ = [
    "EventsSink",
    "Sink",
    "StatsFileSink",
    "VideoSink",
    "Viewer",
    "WindowSink",
    "display_available",
    "summary_to_dict",
    "window_lack",
]


class Sink(Protocol):
    """Takes every result with its frame, and the summary at the end.

    Entering opens the output and raises SinkError (or ProviderError, for a display) where it cannot be
    used, before any frame is read. Leaving without an error, or by Ctrl-C, keeps what was written;
    leaving by an error leaves nothing half-written.

    A sink is used from one thread, and a window from the main thread.
    """

    @property
    def closed(self) -> bool:
        """Whoever looked or read has gone away: the run should end, cleanly."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        """Take one result. Raises SinkError when the output fails; a later write may succeed again."""

    def finish(self, summary: dict[str, Any]) -> None:
        """Take the figures of the whole run, after the last result."""


@runtime_checkable
class Viewer(Protocol):
    """A sink that a person looks at and that takes keys."""

    def poll(self) -> bool:
        """Keep the last picture up; whether a key was pressed."""
