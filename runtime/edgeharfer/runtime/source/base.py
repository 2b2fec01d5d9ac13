"""What every source promises, and the part that all of them share."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.types import Frame, Image

STALE_S = 3.0
"""A live frame that has waited for longer tells nothing of now: the process was stopped meanwhile (SIGSTOP, a
paused container or machine), or loaded its models."""


class Source(Protocol):
    """Frames in order, from wherever they come.

    name: what a person calls it; credentials and keys in a URL are redacted.
    details: a short text on what was really opened, e.g. "MJPG 640x480 at 30 fps".
    live: frames come at their own pace, and one that is not taken in time is lost.
    size: (width, height) of the first frame; photographs in a folder may differ from it.
    fps: nominal frames per second, None where it is not known or there is no such thing.
    frame_count: None where it is not known. Containers without an index (Matroska) only tell a
        length in time, so the figure may be off by one or two.
    """

    name: str
    details: str
    live: bool
    size: tuple[int, int] | None
    fps: float | None
    frame_count: int | None

    def read(self) -> Frame | None:
        """The next frame, or None at the end; waits at most about 6 s on live input.

        Raises SourceError where the input cannot be read any further.
        """

    def close(self) -> None:
        """Let go of the device or file; reads after it return None. Harmless when repeated."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class LiveSource(Source, Protocol):
    """Input that can go away and come back, which a supervisor looks after.

    bad_pictures: how many came that could not be decoded.
    ended: the input has said that it is over, as a film on a web server does.
    """

    @property
    def bad_pictures(self) -> int: ...

    @property
    def ended(self) -> bool: ...

    def read_within(self, timeout_s: float) -> Frame | None:
        """The next frame, or None where none came in time. Raises SourceError where the input is lost."""

    def reconnect(self) -> None:
        """Let go and begin to open anew, without waiting: `read_within` tells what comes of it.

        Raises SourceError where not even a beginning can be made.
        """


class BaseSource(ABC):
    """Numbers and stamps the frames, and keeps `close` from pulling a device away under `read`.

    unreadable: images or frames of a file input that could not be read so far. skipped: the files
    concerned, as (path, reason).
    """

    live = False

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
        self.details = ""
        self.size: tuple[int, int] | None = None
        self.fps: float | None = None
        self.frame_count: int | None = None
        self.unreadable = 0
        self.skipped: list[tuple[Path, str]] = []
        self._clock = clock
        self._closed = False
        self._start_s: float | None = None
        # OpenCV crashes when a capture is released while another thread reads from it.
        self._lock = threading.Lock()

    def read(self) -> Frame | None:
        """The next frame, or None at the end and after `close`."""
        with self._lock:
            return None if self._closed else self._next()

    def close(self) -> None:
        """Let go of the device or file; waits for a read that is under way in another thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def _next(self) -> Frame | None:
        """Read one frame; called with the source open and the lock held."""

    def _release(self) -> None:  # noqa: B027 - most sources hold nothing that must be let go
        """Let go of what is held; called once."""

    def _frame(
        self, seq: int, pts_s: float | None, bgr: Image, *, still: bool = False, file: str = ""
    ) -> Frame:
        """A frame that comes now. pts_s: None for live input, where it is the time since the first frame."""
        now_s = self._clock.monotonic()
        if pts_s is None:
            self._start_s = now_s if self._start_s is None else self._start_s
            pts_s = now_s - self._start_s
        return Frame(seq, pts_s, now_s, bgr, still, file)


def size_of(bgr: Image) -> tuple[int, int]:
    """(width, height) of an image."""
    return int(bgr.shape[1]), int(bgr.shape[0])
