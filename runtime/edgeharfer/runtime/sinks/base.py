"""The Sink protocol and the options that all sinks share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from typing_extensions import Self

    from edgeharfer.runtime.result import Result
    from edgeharfer.runtime.source.base import Source
    from edgeharfer.runtime.stats import Status
    from edgeharfer.runtime.types import Frame


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """Options common to the sinks of a run; each kind uses those that concern it.

    Attributes:
        source: Source of the frames.
        stopping: Returns whether the run has been asked to stop.
        fullscreen: Whether a window opens full-screen.
        port: Port of the web view; 0 = any free port.
    """

    source: Source
    stopping: Callable[[], bool] = lambda: False
    fullscreen: bool = False
    port: int = 8765


class Sink(Protocol):
    """Receives every result with its frame, and the summary at the end.

    Subclass it and implement `write`; the other members have defaults. A run calls its sinks from the thread
    in which it was started.

        class Count(Sink):
            def __init__(self):
                self.faces = 0

            def write(self, frame, result, status):
                self.faces += len(result.faces)

    Entering opens the output, before any frame is read, and raises SinkError (or ProviderError, for a
    display) if it cannot be used. Leaving without an error, or by Ctrl-C, keeps the output; leaving by an
    error leaves no incomplete file.

    Attributes:
        closed: True when the window was closed or the reader of a pipe has gone; the run then ends cleanly.
        uses_pictures: Whether `write` looks at the pictures of the frames. If no sink does, frames of a file
            that the pipeline does not need are not decoded.
        uses_status: Whether `write` looks at the status. If no sink does, it is not computed for each result.
    """

    closed: bool = False
    uses_pictures: bool = True
    uses_status: bool = True

    @property
    def url(self) -> str:
        """Address for a browser, once entered; "" for a sink without one."""
        return ""

    @property
    def saved(self) -> str:
        """What was saved and where, once left; "" if there is nothing to say."""
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
        """Write one result.

        Raises:
            SinkError: The output failed; a later write may succeed.
        """

    def refresh(self, status: Status) -> None:
        """Update the status; called about ten times per second while there are no results."""
        return

    def poll(self) -> bool:
        """Keep showing the last image, and return whether a key was pressed; only windows override this."""
        return False

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the summary of the run, after the last result."""
        return
