"""Annotated video (`--save FILE.mp4`)."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.errors import ConfigError, SinkError
from edgeharfer.runtime.overlay import annotate
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.sinks.encoders import FORMATS, choose_encoder
from edgeharfer.runtime.sinks.partial import PartialFile, exited_cleanly
from edgeharfer.runtime.sinks.timeline import LIVE_GAP_S, Timeline
from edgeharfer.runtime.sinks.video_writer import VideoWriter, frame_rate, move_index_first
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.types import Frame, Image

if TYPE_CHECKING:
    from typing_extensions import Self

STILL_S = 1.0  # duration of a photograph
MIN_FREE_BYTES = 16 * 1024 * 1024  # nothing is written with less free space
MAX_STOP_S = 0.5  # time to move the index of an MP4 file to its start after the run was asked to stop

_log = logging.getLogger(__name__)


class VideoSink(Sink):
    """Writes frames with their overlay to .mp4, .mkv (H.264) or .avi (MJPG).

    Each frame keeps the time of its source; in .avi, which has a constant rate, rounded to a frame interval.
    The file appears under its name when the run ends without an error or by Ctrl-C. Until then it has a
    temporary name, and it can be played up to the last two seconds or so even after the process was killed.
    The first frame sets the size, plus one black column or row if a side is odd; later frames of another size
    are fitted with black borders. While the disk is full, nothing is written and SinkError is raised; the
    last frame before that stands until the next one. The file is not flushed to the disk (fsync), which could
    delay a stop too long: a power failure right after the run may damage it.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | None = None,
        *,
        max_gap_s: float = LIVE_GAP_S,
        stopping: Callable[[], bool] = lambda: False,
        clock: Clock | None = None,
    ) -> None:
        """Set the target, and check that it can be encoded here.

        Args:
            path: File to write.
            fps: Frame rate of the source; None if it has none.
            max_gap_s: Longer gaps of the source are removed.
            stopping: Returns whether the run was asked to stop.
            clock: Clock for the limit MAX_STOP_S.

        Raises:
            ConfigError: The extension is not supported, or this PyAV has no encoder for it.
        """
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix not in FORMATS:
            raise ConfigError(f"{target}: unsupported video format; use the extension {', '.join(FORMATS)}")
        self._format, self._encoder = FORMATS[suffix], choose_encoder(target)
        if self._encoder.title != self._format.encoders[0].title:
            _log.warning(
                "%s: this PyAV cannot encode %s; %s is written, which browsers do not play",
                target, self._format.encoders[0].title, self._encoder.title,
            )  # fmt: skip
        self._file = PartialFile(target)
        self._fps = float(frame_rate(fps))
        self._timeline = Timeline(1 / self._fps, max_gap_s)
        self._stopping, self._clock = stopping, clock or SystemClock()
        self._writer: VideoWriter | None = None
        self._failure: SinkError | None = None
        self._size = (0, 0)
        self._end_s = 0.0
        self._saved = ""

    @property
    def saved(self) -> str:
        return self._saved

    def __enter__(self) -> Self:
        self._file.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_writer()
        if not exited_cleanly(kind):
            self._file.discard()
            return
        if self._writer is None or not self._writer.frames:
            self._file.discard()
            if self._failure is not None:
                raise self._failure
            return
        if not self._is_readable():
            self._file.discard()
            raise SinkError(
                f"{self._file.target}: the video could not be finished; check free disk space and quotas"
            ) from self._failure
        self._file.publish()
        if self._failure is not None:
            raise self._failure
        if self._format.index_first:
            self._move_index_first()
        megabytes = self._file.target.stat().st_size / 1e6
        size = "x".join(map(str, self._size))
        self._saved = (
            f"{self._file.target}: {self._end_s:.1f} s, {size} {self._encoder.title}, {megabytes:.1f} MB"
        )

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        self._check_free_space()
        if self._failure is not None:
            raise self._failure
        image = self._picture(frame, result, status)
        try:
            if self._writer is None:
                self._writer = self._open(image)
            image = fit(image, self._size)
            duration_s = STILL_S if frame.still else 1 / self._fps
            time_s = self._timeline.hold(STILL_S) if frame.still else self._timeline.time_s(frame.pts_s)
            self._writer.write(image, time_s, duration_s)
            self._end_s = time_s + duration_s
        except (av.FFmpegError, ValueError) as error:
            self._failure = self._cannot_write(error)
            raise self._failure from error

    def _picture(self, frame: Frame, result: Result, status: Status) -> Image:
        """Return the image to write for a frame."""
        return annotate(frame, result, status)

    def _open(self, image: Image) -> VideoWriter:
        # Video with 4:2:0 colour has even sides.
        self._size = (image.shape[1] + image.shape[1] % 2, image.shape[0] + image.shape[0] % 2)
        return VideoWriter(self._file.temporary, self._format, self._encoder, self._size, self._fps)

    def _close_writer(self) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except (av.FFmpegError, ValueError) as error:
                self._failure = self._failure or self._cannot_write(error)

    def _cannot_write(self, error: Exception) -> SinkError:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        size = "x".join(map(str, self._size))
        return SinkError(
            f"{self._file.target}: {self._encoder.title} video of {size} cannot be written ({reason}); "
            "check free disk space and quotas"
        )

    def _is_readable(self) -> bool:
        try:
            with av.open(str(self._file.temporary.absolute())) as video:
                return next(video.decode(video=0), None) is not None
        except (av.FFmpegError, IndexError):
            return False

    def _move_index_first(self) -> None:
        """Replace the published file by a copy with its index at the start, if there is space and time."""
        try:
            problem = self._copy_index_first()
        except (av.FFmpegError, SinkError) as error:
            problem = str(error)
        if problem:
            _log.warning("%s: complete, but its index stays at the end: %s", self._file.target, problem)

    def _copy_index_first(self) -> str:
        """Return why the index stays at the end; "" if it was moved."""
        target, end_s = self._file.target, self._clock.monotonic() + MAX_STOP_S
        if shutil.disk_usage(target.parent).free < target.stat().st_size + MIN_FREE_BYTES:
            return "the disk is almost full"

        def proceed() -> bool:
            return not self._stopping() or self._clock.monotonic() < end_s

        copy = PartialFile(target)
        copy.create()
        try:
            if not move_index_first(target, copy.temporary, self._format, proceed):
                return "the run was stopped"
            copy.publish()
        finally:
            copy.discard()
        return ""

    def _check_free_space(self) -> None:
        # Checked first, because FFmpeg cannot continue a file after a failed write.
        if shutil.disk_usage(self._file.temporary.parent).free < MIN_FREE_BYTES:
            raise SinkError(f"{self._file.target}: the disk is full; free some space")


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
