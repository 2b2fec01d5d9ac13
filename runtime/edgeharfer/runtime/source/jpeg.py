"""Motion JPEG: where an image ends in a stream, and decoding one image after the other to planes."""

from __future__ import annotations

import struct

import av
import av.error

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.picture import BgrPicture, Picture
from edgeharfer.runtime.source.decode import decode_image, size_from_header
from edgeharfer.runtime.source.image_format import MAX_MEGAPIXELS
from edgeharfer.runtime.source.media_picture import frame_planes
from edgeharfer.runtime.source.packet_decoder import DECODER_OPTIONS

START, END = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
_MAX_HEADER_BYTES = 1 << 20
_EXIF = b"Exif\0"
_EXIF_WITHIN = 1024


def start_of_scan(data: bytes | bytearray) -> int | None:
    """Return the offset of the first scan of a JPEG image, None if there is none (ITU-T T.81, B.1.1)."""
    offset = len(START)
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == _START_OF_SCAN:
            return offset
        padding = marker == 0xFF
        offset += 1 if padding else 2 + max(2, int(struct.unpack_from(">H", data, offset + 2)[0]))
    return None


def image_length(data: bytes | bytearray) -> int | None:
    """Return the length of the JPEG image at the start of a stream, None if more data is needed.

    It ends with its end marker, or where another image starts.
    """
    start = start_of_scan(data)
    if start is None and len(data) < _MAX_HEADER_BYTES:
        return None
    end, following = (data.find(mark, start or len(START)) for mark in (END, START))
    if end >= 0 and not 0 <= following < end:
        return end + len(END)
    return following if following >= 0 else None


class JpegDecoder:
    """Decodes the images of a camera.

    FFmpeg's decoder takes half the time of OpenCV's, and returns planes, which are half as large as BGR
    pixels. It accepts truncated images and ignores EXIF orientations, so both are looked for beforehand.
    """

    def __init__(self) -> None:
        self._decoder = av.CodecContext.create("mjpeg", "r")
        self._decoder.thread_count = 1
        self._decoder.options = dict(DECODER_OPTIONS)

    def decode(self, data: bytes, where: str) -> Picture:
        """Decode an image.

        Args:
            data: Content of the image file.
            where: Name for error messages.

        Raises:
            SourceError: The image is empty, too large, truncated, corrupt or of an unsupported format.
        """
        start = start_of_scan(data) if data.startswith(START) else None
        if start is not None:
            width, height = size_from_header(data) or (0, 0)
            if data.find(END, start) < 0 or width * height > MAX_MEGAPIXELS * 1_000_000:
                raise SourceError(f"{where}: the image is truncated or too large")
            planes = None if _EXIF in data[:_EXIF_WITHIN] else self._planes(data)
            if planes is not None:
                return planes
        return BgrPicture(decode_image(data, where))

    def _planes(self, data: bytes) -> Picture | None:
        try:
            frames = self._decoder.decode(av.Packet(data))
        except av.error.FFmpegError:
            return None
        return frame_planes(frames[0]) if frames else None
