"""Live frames from OpenCV's VideoCapture: the base class of cameras and GStreamer pipelines."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import CameraError
from edgeharfer.runtime.source.base import BaseSource, Source, SourceOptions, size_of
from edgeharfer.runtime.source.opencv import VideoCapture, codec, describe, nominal_fps
from edgeharfer.runtime.types import Frame, Image

# USB cameras may need several seconds after they are opened; each attempt waits one second.
_FIRST_FRAME_ATTEMPTS = 5
# Reads without a frame, of one second each in V4L2, after which the camera counts as lost.
_MAX_SILENT_READS = 4
# About one second of frames that cannot be decoded is an error; a single one is not.
_MAX_CONSECUTIVE_ERRORS = 30
# Drivers round rates: 29.97 is given for 30.
_SAME_FPS = 0.05


class LiveCaptureSource(BaseSource):
    """Live frames of a capture. `bad_pictures` counts frames that could not be decoded.

    Attributes:
        no_frames: What to do if no frames arrive, for error messages.
        lost: What to do if they stop.
    """

    live = True
    no_frames: ClassVar[str] = "reconnect it, or try --source demo"
    lost: ClassVar[str] = "check the cable"

    def __init__(self, name: str, clock: Clock, capture: VideoCapture) -> None:
        """Configure the capture and read its first frame.

        Args:
            name: Display name.
            clock: Clock for the timestamps.
            capture: The capture; released by `close`, and if an error is raised here.

        Raises:
            CameraError: The capture is not open, or delivers no frames.
        """
        super().__init__(name, clock)
        self._seq = 0
        self._capture = capture
        try:
            self._configure()
            self._first: Image | None = self._first_image()
        except CameraError:
            self._capture.release()
            raise
        self.size, self.fps = size_of(self._first), nominal_fps(capture)
        self.details = describe(self._format(), self.size, self.fps)

    @abstractmethod
    def _configure(self) -> None:
        """Check that the capture is open, and request its settings.

        Raises:
            CameraError: It is not open.
        """

    def _format(self) -> str:
        """Return the format that the driver delivers, such as "MJPG"."""
        return codec(self._capture)

    def _first_image(self) -> Image:
        for _ in range(_FIRST_FRAME_ATTEMPTS):
            if self._capture.grab():
                image = self._retrieve()
                if image is not None:
                    return image
        raise CameraError(f"{self.name}: no frames received: {self.no_frames}")

    def _next(self) -> Frame:
        image, self._first = self._first, None
        if image is None:
            image = self._next_image()
        frame = self._frame(self._seq, None, image)
        self._seq += 1
        return frame

    def _next_image(self) -> Image:
        silent = bad = 0
        while silent < _MAX_SILENT_READS and bad < _MAX_CONSECUTIVE_ERRORS:
            if not self._capture.grab():
                silent += 1
            elif (image := self._retrieve()) is None:
                bad += 1
            else:
                return image
        raise CameraError(f"{self.name}: connection lost, no more frames received: {self.lost}")

    def _retrieve(self) -> Image | None:
        good, image = self._capture.retrieve()
        if good and image is not None and image.size:
            return image
        self.bad_pictures += 1
        self._seq += 1
        return None

    def _release(self) -> None:
        self._capture.release()


def unmet_request(source: Source, options: SourceOptions) -> str | None:
    """Return one line that says what an open source delivers instead of the requested size and rate, or None.

    Args:
        source: The open source.
        options: The request.
    """
    if source.size is None:
        return None
    requested = options.width or source.size[0], options.height or source.size[1]
    parts = [f"{requested[0]}x{requested[1]}"] if requested != source.size else []
    if options.fps and source.fps and abs(source.fps / options.fps - 1) > _SAME_FPS:
        parts.append(f"{options.fps:.4g} fps")
    if not parts:
        return None
    return f"{source.name}: requested {' at '.join(parts)}, delivers {source.details}"
