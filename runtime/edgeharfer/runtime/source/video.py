"""Video files."""

from __future__ import annotations

from pathlib import Path

import av.error

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import BaseSource
from edgeharfer.runtime.source.completeness import is_cut_off, missing_frames
from edgeharfer.runtime.source.decode_devices import AUTO
from edgeharfer.runtime.source.image_format import MAX_MEGAPIXELS
from edgeharfer.runtime.source.media import MediaDecoder, MediaFrame, open_container
from edgeharfer.runtime.source.opencv import describe
from edgeharfer.runtime.source.references import reject_references
from edgeharfer.runtime.types import Frame

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".dv", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"}
)


class VideoFileSource(BaseSource):
    """The frames of a video file, with the times of its container.

    A truncated or corrupt file yields the frames that can be decoded. At the end, `unreadable` is the number
    of missing frames, as far as the container declares it, and `skipped` holds the reason.
    """

    ahead = True

    def __init__(self, path: Path, clock: Clock, decode: str = AUTO) -> None:
        """Open the file and decode its first frame.

        Args:
            path: The file.
            clock: Clock for the timestamps.
            decode: Device that decodes, a value of `decode_choices`.

        Raises:
            SourceError: The file is empty, is not a supported video, or has no frame that can be decoded.
            DecoderError: The device of `decode` cannot decode it.
        """
        super().__init__(path.name, clock)
        self._seq = 0
        self._path = path
        self._decoder = open_video(path, decode=decode)
        first = self._decoder.read()
        if first is None:
            self._decoder.close()
            raise SourceError(
                f"{path}: no frame can be decoded: the video is truncated or corrupt, or larger than "
                f"{MAX_MEGAPIXELS} megapixels"
            )
        self._first: MediaFrame | None = first
        # A recording may begin between two key frames, with frames that refer to earlier ones.
        self._damaged_before = self._decoder.damaged
        self.size = first.picture.size
        self.fps, self.frame_count = self._decoder.fps, self._decoder.frame_count
        self.details = describe(self._decoder.codec, self.size, self.fps)

    def _next(self) -> Frame | None:
        decoded, self._first = self._first, None
        decoded = decoded or self._decoder.read(self.wanted, self.announce)
        if decoded is None:
            self._check_complete()
            return None
        frame = self._frame(self._seq, decoded.pts_s, decoded.picture)
        self._seq += 1
        return frame

    def rewind(self) -> bool:
        """Continue with the first frame; return False if the format does not allow that."""
        with self._lock:
            try:
                self._decoder.rewind()
            except av.error.FFmpegError:
                return False
            self._seq = 0
            return True

    def _check_complete(self) -> None:
        """Record missing frames at the end of the file."""
        if self.skipped:
            return
        of = f"of {self.frame_count} " if self.frame_count else ""
        if is_cut_off(self._path):
            self.unreadable = max(1, (self.frame_count or 0) - self._seq)
            reason = f"the file is truncated, {self._seq} {of}frames could be read: copy or download it again"
        elif missing := self._missing_frames():
            self.unreadable = missing
            reason = f"the file is corrupt, {self._seq} {of}frames could be read: copy or download it again"
        else:
            return
        self.skipped.append((self._path, f"{self._path}: {reason}"))

    def _missing_frames(self) -> int:
        """Return the number of frames that could not be decoded, or that the container declares but lacks."""
        expected = self.frame_count or 0
        if expected and self._seq >= expected:
            return 0
        if damaged := self._decoder.damaged - self._damaged_before:
            return max(damaged, expected - self._seq)
        return missing_frames(self._path, self.frame_count, self._seq, self.fps)

    def _release(self) -> None:
        self._decoder.close()


def open_video(path: Path, name: str = "", decode: str = AUTO) -> MediaDecoder:
    """Open a video file.

    Args:
        path: The file.
        name: Name for error messages, by default the path.
        decode: Device that decodes, a value of `decode_choices`.

    Raises:
        SourceError: The file is empty, or is not a supported video.
        DecoderError: The device of `decode` cannot decode it.
    """
    name = name or str(path)
    if path.stat().st_size == 0:
        raise SourceError(f"{name}: the file is empty")
    try:
        # An absolute path keeps FFmpeg from reading a name such as "concat:a|b" as a protocol.
        container = open_container(str(path.absolute()))
    except av.error.FFmpegError:
        with path.open("rb") as file:
            reject_references(file.read(4096), name)
        raise SourceError(
            f"{name}: corrupt or unsupported video: copy it again, or convert it to MP4 (H.264)"
        ) from None
    try:
        return MediaDecoder(container, name, decode)
    except BaseException:
        container.close()
        raise
