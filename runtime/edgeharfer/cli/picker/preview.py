"""The newest picture of a source, read beside the picker, so that nothing a source does can hold that up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.errors import EdgeharferError
from edgeharfer.runtime.overlay import humanise
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.source.supervisor import SourceState
from edgeharfer.runtime.types import Image

_WAIT_S = 0.1

Opener = Callable[..., Source]


class PreviewState(StrEnum):
    """How it goes with a source."""

    WAITING = "waiting"
    LIVE = "live"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True, eq=False)
class PreviewFrame:
    """One look at a source. words: for people. picture: uint8 BGR, the last one that came."""

    mood: PreviewState
    words: str
    picture: Image | None = None


class Preview:
    """Opens a source in a thread of its own and keeps its newest picture.

    A live source is read in another process (see `IsolatedSource`), so that even one that hangs lets go
    within about a second.
    """

    def __init__(self, spec: str, opener: Opener, after: Preview | None = None) -> None:
        """Begin; a preview that shall end first is waited for beside, since a camera opens only once."""
        self._spec, self._opener, self._after = spec, opener, after
        self._glance = PreviewFrame(PreviewState.WAITING, "Opening…")
        self._defect: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"preview {spec}", daemon=False)
        self._thread.start()

    @property
    def glance(self) -> PreviewFrame:
        """The same object until there is something new. Raises what the thread could not handle."""
        if self._defect is not None:
            raise self._defect
        return self._glance

    def stop(self) -> None:
        """Let go of the source soon, without waiting."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the source and wait until that is done."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        if self._after is not None:
            self._after.close()
            self._after = None
        if self._stopping.is_set():
            return
        try:
            self._watch()
        except KeyboardInterrupt:  # what `open_source` raises where it is to stop
            return
        except EdgeharferError as error:
            self._glance = PreviewFrame(PreviewState.TROUBLE, str(error))
        except Exception as error:
            self._defect = error

    def _watch(self) -> None:
        source = self._opener(self._spec, stopping=self._stopping.is_set)
        with source, Capture(source, pace="realtime") as capture:
            while not (self._stopping.is_set() or capture.ended):
                frame = capture.next_frame(_WAIT_S)
                if frame is not None:
                    self._glance = PreviewFrame(PreviewState.LIVE, source.details, frame.bgr)
                elif capture.state not in (SourceState.LIVE, SourceState.ENDED, SourceState.CONNECTING):
                    self._glance = PreviewFrame(
                        PreviewState.TROUBLE, humanise(capture.state), self._glance.picture
                    )
