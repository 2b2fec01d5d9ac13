"""What every sink promises, with defaults for what most of them do not need."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from edgeharfer.runtime.result import Result
    from edgeharfer.runtime.source.base import Source
    from edgeharfer.runtime.stats import Status
    from edgeharfer.runtime.types import Frame


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """What the sinks of a run have in common; each kind reads what concerns it.

    Attributes:
        source: Whose results are written.
        stopping: Whether the run is to stop.
        fullscreen: A window opens over the whole screen.
        port: Of a view in a browser; 0 is any free one.
    """

    source: Source
    stopping: Callable[[], bool] = lambda: False
    fullscreen: bool = False
    port: int = 8765


class Sink(Protocol):
    """Takes every result with its frame, and the summary at the end.

    Subclass it and write `write`; the other members have defaults. A run calls a sink from one thread, and
    that is the main thread where the run is started there.

        class Count(Sink):
            def __init__(self):
                self.faces = 0

            def write(self, frame, result, status):
                self.faces += len(result.faces)

    Entering opens the output and raises SinkError (or ProviderError, for a display) where it cannot be
    used, before any frame is read. Leaving without an error, or by Ctrl-C, keeps what was written;
    leaving by an error leaves nothing half-written.

    Attributes:
        closed: The person who looked or the process that read has gone away: the run ends, cleanly.
    """

    closed: bool = False

    @property
    def url(self) -> str:
        """Where to watch, once entered; "" for a sink that is not watched in a browser."""
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the output."""
        return

    @abstractmethod
    def write(self, frame: Frame, result: Result, status: Status) -> None:
        """Take one result. Raises SinkError when the output fails; a later write may succeed again."""

    def refresh(self, status: Status) -> None:
        """Called about ten times a second while no results come."""
        return

    def poll(self) -> bool:
        """Keep the last picture up, in a sink that a person looks at; whether a key was pressed."""
        return False

    def finish(self, summary: dict[str, Any]) -> None:
        """Take the figures of the whole run, after the last result."""
        return
