"""Video files."""

from __future__ import annotations

import math
from pathlib import Path

import cv2

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import BaseSource, size_of
from edgeharfer.runtime.source.completeness import is_cut_off, missing_frames
from edgeharfer.runtime.source.opencv import (
    VideoCapture,
    codec,
    describe,
    frame_count,
    nominal_fps,
    open_capture,
)
from edgeharfer.runtime.source.references import reject_references
from edgeharfer.runtime.types import Frame, Image

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv", ".y4m"}
)
# Used if a file has neither timestamps nor a frame rate: FFmpeg's default, the rate of PAL.
_DEFAULT_FPS = 25.0


class VideoFileSource(BaseSource):
    """The frames of a video file, decoded by FFmpeg.

    A truncated or corrupt file yields the frames that can be decoded. At the end, `unreadable` is the number
    of missing frames, as far as the container declares it, and `skipped` holds the reason.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the file and decode its first frame.

        Raises:
            SourceError: The file is empty, is not a supported video, or has no frame that can be decoded.
        """
        super().__init__(path.name, clock)
        self._seq = 0
        self._path = path
        self._capture = _open(path)
        good, first = self._capture.read()
        if not good or first is None:
            self._capture.release()
            raise SourceError(f"{path}: no frame can be decoded: the video is truncated or corrupt")
        self._first: Image | None = first
        self.size = size_of(first)
        self.fps = nominal_fps(self._capture)
        self.frame_count = frame_count(self._capture)
        self.details = describe(codec(self._capture), self.size, self.fps)
        self._times = FrameTimes(self.fps or _DEFAULT_FPS)

    def _next(self) -> Frame | None:
        image, self._first = self._first, None
        if image is None:
            good, image = self._capture.read()
            if not good or image is None:
                self._check_complete()
                return None
        frame = self._frame(self._seq, self._times.next(self._capture.get(cv2.CAP_PROP_POS_MSEC)), image)
        self._seq += 1
        return frame

    def _check_complete(self) -> None:
        """Record missing frames at the end of the file."""
        if self.skipped:
            return
        of = f"of {self.frame_count} " if self.frame_count else ""
        if is_cut_off(self._path):
            self.unreadable = max(1, (self.frame_count or 0) - self._seq)
            reason = f"the file is truncated, {self._seq} {of}frames could be read: copy or download it again"
        elif missing := missing_frames(self._path, self.frame_count, self._seq, self.fps):
            self.unreadable = missing
            reason = f"the file is corrupt, {self._seq} {of}frames could be read: copy or download it again"
        else:
            return
        self.skipped.append((self._path, f"{self._path}: {reason}"))

    def _release(self) -> None:
        self._capture.release()


class FrameTimes:
    """Strictly increasing frame times in seconds since the first frame, whatever the container reports."""

    def __init__(self, fps: float) -> None:
        self._interval_s = 1.0 / fps
        self._first_ms: float | None = None
        self._last_s: float | None = None

    def next(self, position_ms: float) -> float:
        """Return the time of the next frame.

        Args:
            position_ms: Position that the backend reports. If it is not finite or does not increase, one
                frame duration is added to the last time instead.
        """
        if self._last_s is None:
            self._last_s = 0.0
            self._first_ms = position_ms if math.isfinite(position_ms) else None
            return 0.0
        reported_s = math.nan if self._first_ms is None else (position_ms - self._first_ms) / 1000.0
        grows = math.isfinite(reported_s) and reported_s > self._last_s
        self._last_s = round(reported_s if grows else self._last_s + self._interval_s, 6)
        return self._last_s


def _open(path: Path) -> VideoCapture:
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty")
    # An absolute path keeps FFmpeg from reading a name such as "concat:a|b" as a protocol.
    name = str(path.absolute())
    if not _is_utf8(name):
        raise SourceError(f"{path}: the file name is not UTF-8: rename the file")
    capture = open_capture(name, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        with path.open("rb") as file:
            reject_references(file.read(4096), str(path))
        raise SourceError(
            f"{path}: corrupt or unsupported video: copy it again, or convert it to MP4 (H.264)"
        )
    return capture


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
