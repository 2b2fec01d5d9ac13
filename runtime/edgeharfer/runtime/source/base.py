"""What every source promises, and the part that all of them share."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError

if TYPE_CHECKING:
    from edgeharfer.runtime.types import Frame, Image

STALE_S = 3.0
"""A live frame that has waited for longer tells nothing of now: the process was stopped meanwhile (SIGSTOP, a
paused container or machine), or loaded its models."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How a source is opened; each kind reads what concerns it.

    Attributes:
        clock: Stamps the frames.
        width, height: Picture size requested from a camera, in pixels.
        fps: Rate requested from a camera, or of a numbered sequence.
        follow_redirects: A stream may connect to other servers that the given one names.
        stopping: Asked while a live source opens; once true, KeyboardInterrupt is raised.
    """

    clock: Clock
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    follow_redirects: bool = False
    stopping: Callable[[], bool] = lambda: False


class Source(Protocol):
    """Frames in order, from wherever they come.

    Subclass it, set `name` and write `read`; everything else has a default.

    Attributes:
        name: What a person calls it; credentials and keys in a URL are redacted.
        details: A short text on what was really opened, e.g. "MJPG 640x480 at 30 fps".
        live: Frames come at their own pace, and one that is not taken in time is lost.
        restartable: It can be lost and opened again by `reconnect`, so `Capture` supervises it.
        size: (width, height) of the first frame; photographs in a folder may differ from it.
        fps: Nominal frames per second, None where it is not known or there is no such thing.
        frame_count: None where it is not known. Containers without an index (Matroska) only tell a
            length in time, so the figure may be off by one or two.
        ended: A restartable source has said that it is over, as a film on a web server does.
        bad_pictures: How many pictures of a live source could not be decoded so far.
        paths: The image file of each frame, `paths[frame.seq]`; empty where frames are no image files.
        unreadable: How many images or frames of a file could not be read so far.
        skipped: The files concerned, as (path, reason).
        missing: Numbers of an image sequence that have no file.
    """

    name: str
    details: str = ""
    live: bool = False
    restartable: bool = False
    size: tuple[int, int] | None = None
    fps: float | None = None
    frame_count: int | None = None
    ended: bool = False
    bad_pictures: int = 0
    paths: Sequence[Path] = ()
    unreadable: int = 0
    skipped: Sequence[tuple[Path, str]] = ()
    missing: Sequence[int] = ()

    @property
    def photographs(self) -> bool:
        """The frames are image files without a rate: each is a picture of its own."""
        return bool(self.paths) and self.fps is None

    @abstractmethod
    def read(self) -> Frame | None:
        """Return the next frame, or None at the end; waits at most about 6 s on live input.

        Raises:
            SourceError: The input cannot be read any further.
        """

    def read_within(self, timeout_s: float) -> Frame | None:
        """Return the next frame of a restartable source, or None where none came in time.

        Raises:
            SourceError: The input is lost.
        """
        frame = self.read()
        self.ended = frame is None
        return frame

    def reconnect(self) -> None:
        """Close a restartable source and begin to open it again, without waiting for the result.

        Raises:
            SourceError: Not even a beginning can be made.
        """
        raise SourceError(f"{self.name}: cannot be opened again")

    def close(self) -> None:
        """Release the device or file; reads after it return None. Harmless when repeated."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BaseSource(Source):
    """Numbers and stamps the frames, and keeps `close` from pulling a device away under `read`."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.name = name
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

    @abstractmethod
    def _next(self) -> Frame | None:
        """Read one frame; called with the source open and the lock held."""

    def _release(self) -> None:
        """Let go of what is held; called once."""

    def _frame(
        self, seq: int, pts_s: float | None, bgr: Image, *, still: bool = False, file: str = ""
    ) -> Frame:
        """A frame that comes now. pts_s: None for live input, where it is the time since the first frame."""
        from edgeharfer.runtime.types import Frame  # here, so that the list of sources needs no NumPy

        now_s = self._clock.monotonic()
        if pts_s is None:
            self._start_s = now_s if self._start_s is None else self._start_s
            pts_s = now_s - self._start_s
        return Frame(seq, pts_s, now_s, bgr, still, file)


def size_of(bgr: Image) -> tuple[int, int]:
    """(width, height) of an image."""
    return int(bgr.shape[1]), int(bgr.shape[0])
