"""Preview of a source, read in a thread so that a slow source does not block the menu."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.overlay import humanise
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.source.supervisor import SourceState
from edgeharfer.runtime.types import Image

_WAIT_S = 0.1

Opener = Callable[..., Source]


class PreviewState(str, Enum):
    """State of a previewed source."""

    __str__ = str.__str__

    WAITING = "waiting"
    LIVE = "live"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, eq=False)
class PreviewFrame:
    """What the preview shows of a source.

    Attributes:
        state: State of the source.
        message: Details or error, for display.
        image: Last image, uint8 BGR (height, width, 3); None before the first one.
    """

    state: PreviewState
    message: str
    image: Image | None = None


class Preview:
    """Opens a source in a thread and keeps its newest image.

    A live source is read in another process (see `IsolatedSource`), so that even one that hangs is released
    within about a second.
    """

    def __init__(self, spec: str, opener: Opener, after: Preview | None = None) -> None:
        """Start the thread.

        Args:
            spec: Source specification.
            opener: Opens the source.
            after: Preview that must release its source first, since a camera can be opened only once.
        """
        self._spec, self._opener, self._after = spec, opener, after
        self._frame = PreviewFrame(PreviewState.WAITING, "Opening…")
        self._error: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"preview {spec}", daemon=False)
        self._thread.start()

    @property
    def frame(self) -> PreviewFrame:
        """Current preview; the same object until it changes. Raises unexpected errors of the thread."""
        if self._error is not None:
            raise self._error
        return self._frame

    def stop(self) -> None:
        """Ask the thread to release the source, without waiting."""
        self._stopping.set()

    def close(self) -> None:
        """Release the source and wait for the thread."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        if self._after is not None:
            self._after.close()
            self._after = None
        if self._stopping.is_set():
            return
        try:
            self._read()
        except KeyboardInterrupt:  # raised by `open_source` when it is asked to stop
            return
        except EdgeharferError as error:
            self._frame = PreviewFrame(PreviewState.FAILED, str(error))
        except Exception as error:
            self._error = error

    def _read(self) -> None:
        source = self._opener(self._spec, stopping=self._stopping.is_set)
        with source, Capture(source, pace="realtime") as capture:
            while not (self._stopping.is_set() or capture.ended):
                frame = capture.next_frame(_WAIT_S)
                if frame is not None:
                    self._frame = PreviewFrame(PreviewState.LIVE, source.details, frame.bgr)
                elif capture.state not in (SourceState.LIVE, SourceState.ENDED, SourceState.CONNECTING):
                    self._frame = PreviewFrame(
                        PreviewState.FAILED, humanise(capture.state), self._frame.image
                    )
