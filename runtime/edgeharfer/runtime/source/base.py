"""The `Source` protocol and the base class of its implementations."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.decode_devices import AUTO

if TYPE_CHECKING:
    from typing_extensions import Self

    from edgeharfer.runtime.picture import Picture
    from edgeharfer.runtime.source.messages import Reader
    from edgeharfer.runtime.types import Frame, Image

STALE_S = 3.0
"""Maximum age of a live frame in seconds. Frames get older than that while the process is stopped (SIGSTOP, a
paused container or machine) or loads its models."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Options for opening a source; each kind uses those that apply to it.

    Attributes:
        clock: Clock for the timestamps of the frames.
        width: Frame width requested from a camera, in pixels.
        height: Frame height requested from a camera, in pixels.
        fps: Frame rate requested from a camera, or that of a numbered sequence, in Hz.
        follow_redirects: Whether a stream may connect to other servers that the given one refers to.
        decode: Device that decodes videos and streams, a value of `decode_choices`.
        stopping: Polled while a live source opens; KeyboardInterrupt is raised once it returns True.
        start_reader: Starts the reader process of a live source (see `ReaderServer`); None starts one that
            shares nothing.
    """

    clock: Clock
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    follow_redirects: bool = False
    decode: str = AUTO
    stopping: Callable[[], bool] = lambda: False
    start_reader: Callable[[], Reader] | None = None


class Source(Protocol):
    """A sequence of frames from a camera, stream, video or images.

    Subclass it, set `name` and implement `read`; everything else has a default.

    Attributes:
        name: Display name; credentials and parameter values of a URL are redacted.
        details: Short description of what was opened, e.g. "MJPG 640x480 at 30 fps".
        live: Whether frames arrive in real time, so that a frame that is not read in time is lost.
        restartable: Whether `reconnect` can open the source again after a failure; `Capture` supervises
            such a source.
        size: (width, height) of the first frame in pixels; photographs in a folder may differ from it.
        fps: Nominal frames per second, None if unknown or not applicable.
        frame_count: Number of frames, None if unknown. Containers without an index (Matroska) only state a
            duration, so the number may be off by one or two.
        ended: Whether a restartable source has ended, such as a video file on a web server.
        bad_pictures: Number of frames of a live source that could not be decoded so far.
        paths: The image file of each frame, `paths[frame.seq]`; empty if frames are not image files.
        unreadable: Number of images, or frames of a file, that could not be read so far.
        skipped: The files concerned, as (path, reason).
        missing: Numbers without a file in an image sequence.
        wanted: Called with the source time of a frame that no other frame refers to, before it is decoded, in
            the thread that reads. If it returns False, the source may deliver the frame with a
            `SkippedPicture`. None: every frame is decoded. Set it before the first `read`.
        ahead: Whether a capture in real time may read some frames before they are due. The decoder of a
            compressed video then takes less processor time.
        announce: Called before each frame is decoded, in the order of the file and before `wanted`, with its
            source time and whether a new scene may begin with it, as with most key frames. Sources that never
            call `wanted` need not call it.
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
    ahead: bool = False
    wanted: Callable[[float], bool] | None = None
    announce: Callable[[float, bool], None] | None = None

    @property
    def photographs(self) -> bool:
        """Whether the frames are unrelated still images rather than a video."""
        return bool(self.paths) and self.fps is None

    @abstractmethod
    def read(self) -> Frame | None:
        """Return the next frame, or None at the end; waits about 6 s at most for a live source.

        Raises:
            SourceError: The source failed.
        """

    def read_within(self, timeout_s: float) -> Frame | None:
        """Return the next frame of a restartable source, or None after a timeout.

        Args:
            timeout_s: Maximum time to wait, in seconds.

        Raises:
            SourceError: The connection to the source was lost.
        """
        frame = self.read()
        self.ended = frame is None
        return frame

    def reconnect(self) -> None:
        """Close a restartable source and start to open it again, without waiting for the result.

        Raises:
            SourceError: The attempt could not be started.
        """
        raise SourceError(f"{self.name}: does not support reconnecting")

    def close(self) -> None:
        """Release the device or file. Later reads return None; repeated calls have no effect."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LiveTime:
    """Computes the source time of live frames: seconds since the first one was captured."""

    def __init__(self) -> None:
        self._start_s: float | None = None

    def pts_s(self, captured_s: float) -> float:
        """Return the source time of a frame that was captured at this monotonic time."""
        if self._start_s is None:
            self._start_s = captured_s
        return captured_s - self._start_s


class BaseSource(Source):
    """Base class that timestamps frames and serializes `read` and `close` with a lock."""

    def __init__(self, name: str, clock: Clock) -> None:
        from edgeharfer.runtime.types import Frame  # imported here so that the registry needs no NumPy

        self._make_frame = Frame
        self.name = name
        self.skipped: list[tuple[Path, str]] = []
        self._clock = clock
        self._closed = False
        self._live_time = LiveTime()
        # OpenCV crashes when a capture is released while another thread reads from it.
        self._lock = threading.Lock()

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end and after `close`."""
        with self._lock:
            return None if self._closed else self._next()

    def close(self) -> None:
        """Release the device or file; waits for a read in progress in another thread."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._release()

    @abstractmethod
    def _next(self) -> Frame | None:
        """Read one frame; called with the source open and the lock held."""

    def _release(self) -> None:
        """Release the device or file; called once."""

    def _frame(
        self, seq: int, pts_s: float | None, picture: Picture | Image, *, still: bool = False, file: str = ""
    ) -> Frame:
        """Make a frame captured now. pts_s: None for live input: the time since the first frame."""
        now_s = self._clock.monotonic()
        if pts_s is None:
            pts_s = self._live_time.pts_s(now_s)
        return self._make_frame(seq, pts_s, now_s, picture, still, file)


def size_of(bgr: Image) -> tuple[int, int]:
    """Return (width, height) of an image in pixels."""
    return int(bgr.shape[1]), int(bgr.shape[0])
