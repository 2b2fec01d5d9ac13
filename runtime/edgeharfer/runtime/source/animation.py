"""Animated images: GIF, APNG, WebP and AVIF files with several frames are videos."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.base import BaseSource, size_of
from edgeharfer.runtime.source.decode import is_whole_chunk, png_chunks, size_from_header
from edgeharfer.runtime.source.gif import read_gif_layout
from edgeharfer.runtime.source.image_format import HEAD_BYTES, ImageFormat, check_size, image_format
from edgeharfer.runtime.source.opencv import describe
from edgeharfer.runtime.source.pillow import frame_bgr, open_pillow, pillow_errors
from edgeharfer.runtime.types import Frame, Image

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

SHORT_DELAY_S, DEFAULT_DELAY_S = 0.010, 0.100
"""Browsers show frames with a delay of at most 10 ms, which many GIF files have, for 100 ms."""
_MARKS = {"PNG": b"acTL", "GIF": b"", "WebP": b"ANIM", "AVIF": b"avis"}
"""Bytes that every animation of a format contains, before its pictures."""
_MARK_BYTES = 1 << 20
_PNG_PICTURES = frozenset({b"IHDR", b"PLTE", b"IDAT", b"fcTL", b"fdAT", b"acTL"})


class AnimationSource(BaseSource):
    """The frames of an animated image, decoded one by one as they are shown, with their times.

    The frame rate is not constant, so `fps` is None. A truncated or damaged file yields the frames before the
    damage; `unreadable` is then the number of missing frames, as far as it is known, and at least 1.
    """

    def __init__(self, path: Path, data: bytes, clock: Clock) -> None:
        """Decode the first frame.

        Args:
            path: The file.
            data: Its content.
            clock: Clock for the timestamps.

        Raises:
            SourceError: The file is too large, or no frame can be decoded.
        """
        super().__init__(path.name, clock)
        self._path = path
        self._content = _Animation(data, str(path))
        self._seq, self._pts_s, self._delay_s = 0, 0.0, 0.0
        self._first: Image | None = self._decode()
        self.size = size_of(self._first)
        self.frame_count = self._content.count
        self.details = describe(f"animated {self._content.kind.name}", self.size, None)

    def _next(self) -> Frame | None:
        picture, self._first = self._first, None
        if picture is None and (picture := self._read()) is None:
            return None
        frame = self._frame(self._seq, self._pts_s, picture)
        self._seq += 1
        self._pts_s = round(self._pts_s + self._delay_s, 6)
        return frame

    def _read(self) -> Image | None:
        """Decode the next frame; None at the end, or where the file is damaged."""
        if self.skipped:
            return None
        if self._seq == self._content.count:
            if not self._content.complete:
                self._end_early("truncated")
            return None
        try:
            return self._decode()
        except SourceError as error:
            truncated = not self._content.complete or "truncated" in str(error)
            self._end_early("truncated" if truncated else "corrupt")
            return None

    def _decode(self) -> Image:
        picture, self._delay_s = self._content.frame(self._seq)
        return picture

    def _end_early(self, state: str) -> None:
        """Record the frames that could not be read."""
        self.unreadable = max(1, self._content.count - self._seq)
        of = self._seq + self.unreadable
        reason = f"the file is {state}, {self._seq} of {of} frames could be read: copy or download it again"
        self.skipped.append((self._path, f"{self._path}: {reason}"))

    def _release(self) -> None:
        self._content.close()


def is_animation(path: Path) -> bool:
    """Return whether a file is an image with more than one frame.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        kind = image_format(head)
        if kind is None or not kind.animated or _MARKS[kind.name] not in head + file.read(_MARK_BYTES):
            return False
    return has_frames(path.read_bytes())


def has_frames(data: bytes) -> bool:
    """Return whether an image has more than one frame."""
    kind = image_format(data)
    if kind is None or not kind.animated or _MARKS[kind.name] not in data[: HEAD_BYTES + _MARK_BYTES]:
        return False
    try:
        animation = _Animation(data, "")
    except SourceError:
        return False
    with animation.image:
        return animation.count > 1 or (kind.name == "WebP" and not animation.complete)


class _Animation:
    """The frames of an animation, as Pillow reads them.

    Attributes:
        kind: Format of the file.
        image: The open file.
        count: Number of frames that the file declares, or that are in it.
        complete: Whether the file has its end.
    """

    def __init__(self, data: bytes, where: str) -> None:
        kind = image_format(data)
        if kind is None:
            raise SourceError(f"{where}: corrupt or unsupported image")
        self.kind: ImageFormat = kind
        self.complete = True
        check_size(size_from_header(data), where)
        if kind.name == "WebP":
            data, self.complete = _whole_webp(data)
        elif kind.name == "PNG":
            data, self.complete = _whole_png(data)
        self._data, self._where = data, where
        self.image: ImageFile = open_pillow(data, kind, where)
        # The first picture of a PNG may be a substitute for readers that do not show animations.
        self._skipped = int(bool(getattr(self.image, "default_image", False)))
        if kind.name == "GIF":
            layout = read_gif_layout(data)
            self.count, self.complete = layout.count, layout.complete
        else:
            self.count = int(getattr(self.image, "n_frames", 1)) - self._skipped

    def frame(self, index: int) -> tuple[Image, float]:
        """Decode a frame; the frames have to be requested in order.

        Returns:
            The picture, uint8 (height, width, 3), BGR, and the time in seconds for which it is shown.

        Raises:
            SourceError: The frame is damaged or too large.
        """
        with pillow_errors(self._where):
            self.image.seek(index + self._skipped)
            picture = frame_bgr(self.image, self._data)
            delay_s = float(self.image.info.get("duration", 0.0)) / 1000.0
        return picture, delay_s if delay_s > SHORT_DELAY_S else DEFAULT_DELAY_S

    def close(self) -> None:
        """Release the decoder."""
        self.image.close()


def _whole_png(data: bytes) -> tuple[bytes, bool]:
    """Cut a PNG before its first damaged chunk, since Pillow does not check the checksums of pictures.

    Returns:
        The data, and whether they were complete.
    """
    kind = b""
    for kind, start, end in png_chunks(data):
        if kind in _PNG_PICTURES and not is_whole_chunk(data, start, end):
            return data[: start - 8], False
    return data, kind == b"IEND"


def _whole_webp(data: bytes) -> tuple[bytes, bool]:
    """Cut a truncated WebP after its last whole chunk, since its decoder refuses truncated files (RFC 9649).

    Returns:
        The data, and whether they were complete.
    """
    (declared,) = struct.unpack_from("<I", data, 4)
    if declared + 8 <= len(data):
        return data, True
    offset = end = 12
    while offset + 8 <= len(data):
        offset += 8 + (int.from_bytes(data[offset + 4 : offset + 8], "little") + 1) // 2 * 2
        end = offset if offset <= len(data) else end
    return data[:4] + struct.pack("<I", end - 8) + data[8:end], False
