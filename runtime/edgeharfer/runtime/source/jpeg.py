"""Decoding of motion JPEG: one image after the other, kept as planes."""

from __future__ import annotations

import av
import av.error

from edgeharfer.runtime.picture import BgrPicture, Picture
from edgeharfer.runtime.source.decode import check_image, decode_image
from edgeharfer.runtime.source.media_picture import to_yuv

_EXIF = b"Exif\0"
_HEADER_BYTES = 1024


class JpegDecoder:
    """Decodes the images of a camera.

    FFmpeg takes half the time of OpenCV, and returns planes, which are half as large as BGR pixels. It neither
    rejects truncated images nor turns those with an orientation, so the former are checked before and the
    latter are decoded by OpenCV.
    """

    def __init__(self) -> None:
        self._decoder = av.CodecContext.create("mjpeg", "r")
        self._decoder.thread_count = 1

    def decode(self, data: bytes, where: str) -> Picture:
        """Decode an image.

        Args:
            data: Content of the image file.
            where: Name for error messages.

        Raises:
            SourceError: The image is empty, too large, truncated, corrupt or of an unsupported format.
        """
        check_image(data, where)
        if _EXIF not in data[:_HEADER_BYTES]:
            try:
                for frame in self._decoder.decode(av.Packet(data)):
                    return to_yuv(frame)
            except av.error.FFmpegError:
                pass
        return BgrPicture(decode_image(data, where))
