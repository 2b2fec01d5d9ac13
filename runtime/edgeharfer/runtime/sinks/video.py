"""Annotated video (`--save FILE.mp4`)."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.overlay import annotate
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.sinks.partial import PartialFile, exited_cleanly
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Image

CODECS = {".mp4": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
DEFAULT_FPS = 30.0
MAX_FPS = 120.0
STILL_S = 1.0  # duration of a photograph
MAX_HOLD_S = 10.0  # longer gaps of the source are removed
COUNT_SLACK = 2  # containers that store only a duration give the frame count to within one or two
MIN_FREE_BYTES = 16 * 1024 * 1024  # nothing is written with less free space


class FrameTiming:
    """Repeats or skips frames so that a video of constant rate keeps the timing of its source."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._origin_s: float | None = None
        self._written = 0

    def copies(self, pts_s: float) -> int:
        """Return how many frames to write for the one at `pts_s`.

        Jumps back in time and gaps longer than MAX_HOLD_S are removed.

        Returns:
            0 to skip the frame, or 1 + the number of repetitions of the previous frame.
        """
        if self._origin_s is None:
            self._origin_s = pts_s - self._written / self._fps
        due = math.floor((pts_s - self._origin_s) * self._fps + 0.5) + 1 - self._written
        if not -self._fps <= due <= MAX_HOLD_S * self._fps:
            self._origin_s = pts_s - self._written / self._fps
            due = 1
        due = max(0, due)
        self._written += due
        return due

    def hold(self, seconds: float) -> int:
        """Return the number of frames for a duration that does not advance the source's time."""
        count = max(1, round(seconds * self._fps))
        self._written += count
        if self._origin_s is not None:
            self._origin_s -= count / self._fps
        return count


class VideoSink(Sink):
    """Writes frames with their overlay to .mp4, .mkv (MPEG-4) or .avi (MJPG).

    The file appears under its name when the run ends without an error or by Ctrl-C. The first frame sets the
    size; later frames of another size are fitted with black borders. While the disk is full, nothing is
    written and SinkError is raised; the gap is filled with the last frame before it. The file is not flushed
    to the disk (fsync), which could delay a stop too long: a power failure right after the run may damage it.
    """

    def __init__(self, path: str | Path, fps: float | None = None) -> None:
        """Set the target.

        Args:
            path: File to write.
            fps: Frame rate of the source; None if it has none.

        Raises:
            ConfigError: The extension is not supported.
        """
        target = Path(path)
        codec = CODECS.get(target.suffix.lower())
        if codec is None:
            raise ConfigError(f"{target}: unsupported video format; use the extension {', '.join(CODECS)}")
        self._codec = codec
        self._file = PartialFile(target)
        self._fps = _usable_fps(fps)
        self._timing = FrameTiming(self._fps)
        self._video: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._last: Image | None = None
        self._frames = 0

    def __enter__(self) -> Self:
        self._file.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is not None:
            self._video.release()
        if not exited_cleanly(kind) or self._frames == 0:
            self._file.discard()
            return
        count = self._read_frame_count()
        self._file.publish()
        if count < self._frames - COUNT_SLACK:
            raise SinkError(
                f"{self._file.target}: not all frames could be written; check free disk space and quotas"
            )

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._check_free_space()
        copies = self._timing.hold(STILL_S) if frame.still else self._timing.copies(frame.pts_s)
        if copies == 0:
            return
        image = annotate(frame, result, status)
        if self._video is None:
            self._open(image)
        image = fit(image, self._size)
        held = image if frame.still or self._last is None else self._last
        for _ in range(copies - 1):
            self._put(held)
        self._put(image)
        self._last = image

    def _open(self, image: Image) -> None:
        # MPEG-4 with 4:2:0 colour has even sides; OpenCV would drop an odd row or column.
        self._size = (image.shape[1] + image.shape[1] % 2, image.shape[0] + image.shape[0] % 2)
        code = cv2.VideoWriter.fourcc(*self._codec)
        video = cv2.VideoWriter(str(self._file.temporary), code, self._fps, self._size)
        if not video.isOpened():
            raise SinkError(
                f"{self._file.target}: this OpenCV cannot write {self._codec} video of "
                f"{self._size[0]}x{self._size[1]}; try .avi, or install opencv-python"
            )
        self._video = video

    def _put(self, image: Image) -> None:
        if self._video is not None:
            self._video.write(image)
            self._frames += 1

    def _check_free_space(self) -> None:
        # OpenCV does not report write errors, so the free space is checked first.
        if shutil.disk_usage(self._file.temporary.parent).free < MIN_FREE_BYTES:
            raise SinkError(f"{self._file.target}: the disk is full; free some space")

    def _read_frame_count(self) -> int:
        """Return the frame count of the file, since OpenCV does not report write errors."""
        reader = cv2.VideoCapture(str(self._file.temporary))
        readable = reader.isOpened() and reader.grab()
        count = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
        reader.release()
        if not readable:
            self._file.discard()
            raise SinkError(f"{self._file.target}: the video could not be finished; check free disk space")
        return count


def fit(image: Image, size: tuple[int, int]) -> Image:
    """Fit an image into `size` (width, height), keeping its aspect ratio, with black borders."""
    width, height = size
    rows, columns = image.shape[:2]
    if (columns, rows) == size:
        return image
    scale = min(width / columns, height / rows)
    if columns <= width and rows <= height and max(width - columns, height - rows) <= 1:
        scale = 1.0  # only an odd row or column is missing
    new = max(1, round(columns * scale)), max(1, round(rows * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - new[0]) // 2, (height - new[1]) // 2
    scaled = image if scale == 1.0 else cv2.resize(image, new, interpolation=method)
    canvas[top : top + new[1], left : left + new[0]] = scaled
    return canvas


def _usable_fps(fps: float | None) -> float:
    if fps is None or not math.isfinite(fps) or fps <= 0:
        return DEFAULT_FPS
    return min(fps, MAX_FPS)
