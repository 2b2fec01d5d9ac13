"""Image decoding that rejects damaged and oversized images before they reach the decoder."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.opencv import silence_opencv
from edgeharfer.runtime.types import Image

MAX_MEGAPIXELS = 100
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3
_JPEG_START_OF_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
# SOF0 to SOF15 carry the size; 0xC4, 0xC8 and 0xCC among them are other segments (ITU-T T.81, B.1.1.3).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decode_image(data: bytes, where: str) -> Image:
    """Decode the bytes of an image file.

    Images of more than 8 bits per channel are scaled to 8 bits, greyscale becomes three channels, the alpha
    channel is dropped, and the EXIF orientation is applied.

    Args:
        data: Content of the file.
        where: File name for error messages.

    Returns:
        uint8 array of shape (height, width, 3), BGR.

    Raises:
        SourceError: The image is empty, too large, truncated, corrupt or of an unsupported format.
    """
    if not data:
        raise SourceError(f"{where}: the image is empty")
    _check_size(size_from_header(data), where)
    if _is_cut_jpeg(data) or _is_broken_png(data):
        raise SourceError(f"{where}: the image is truncated or corrupt: copy or download it again")
    image = _decode(data)
    if image is None or image.size == 0:
        raise SourceError(f"{where}: corrupt or unsupported image: convert it to JPEG or PNG")
    _check_size((image.shape[1], image.shape[0]), where)
    return image


def size_from_header(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) from the header of a PNG, JPEG, BMP, WebP or TIFF file, None if unknown."""
    try:
        if data.startswith(_PNG):
            return _pair(">II", data, 16)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data.startswith(b"BM"):
            width, height = _pair("<ii", data, 18)
            return abs(width), abs(height)
        if data.startswith((b"II*\0", b"MM\0*")):
            return _tiff_size(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
    except struct.error:
        return None  # shorter than its header: the decoder reports it
    return None


def _decode(data: bytes) -> Image | None:
    silence_opencv()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _check_size(size: tuple[int, int] | None, where: str) -> None:
    if size is not None and size[0] * size[1] > MAX_MEGAPIXELS * 1_000_000:
        raise SourceError(
            f"{where}: the image size {size[0]}x{size[1]} is larger than {MAX_MEGAPIXELS} megapixels: "
            "resize the image"
        )


def _pair(layout: str, data: bytes, offset: int) -> tuple[int, int]:
    first, second = struct.unpack_from(layout, data, offset)
    return int(first), int(second)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (marker, offset of its length field) up to the first scan."""
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:  # padding
            offset += 1
            continue
        yield marker, offset + 2
        if marker == _JPEG_START_OF_SCAN:
            return
        offset += 2 + max(2, int(struct.unpack_from(">H", data, offset + 2)[0]))


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, offset in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            height, width = _pair(">HH", data, offset + 3)
            return width, height
    return None


def _is_cut_jpeg(data: bytes) -> bool:
    """Return whether the end marker is missing: OpenCV 4 fills the rest of a truncated JPEG with grey."""
    if not data.startswith(b"\xff\xd8"):
        return False
    scans = (offset for marker, offset in _jpeg_segments(data) if marker == _JPEG_START_OF_SCAN)
    start = next(scans, None)
    return start is not None and data.find(_JPEG_END, start) < 0


def _is_broken_png(data: bytes) -> bool:
    """Check the CRCs of the critical chunks, before libpng prints to stderr."""
    if not data.startswith(_PNG):
        return False
    offset = len(_PNG)
    while offset + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        end = offset + 8 + length
        critical = kind[:1].isupper()
        if critical and data[end : end + 4] != zlib.crc32(data[offset + 4 : end]).to_bytes(4, "big"):
            return True
        if kind == b"IEND":
            return False
        offset = end + 4
    return True


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, directory)
    found: dict[int, int] = {}
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind = _pair(order + "HH", data, entry)
        (found[tag],) = struct.unpack_from(order + ("H" if kind == _TIFF_SHORT else "I"), data, entry + 8)
    if _TIFF_WIDTH in found and _TIFF_HEIGHT in found:
        return found[_TIFF_WIDTH], found[_TIFF_HEIGHT]
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """RFC 9649: VP8X stores 24-bit sizes minus one, VP8L 14-bit sizes minus one, VP8 14-bit sizes."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = _pair("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
