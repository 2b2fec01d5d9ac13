"""Image decoding that rejects damaged and oversized images before they reach the decoder."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.gif import read_gif_layout
from edgeharfer.runtime.source.image_format import check_size, image_format
from edgeharfer.runtime.source.opencv import silence_opencv
from edgeharfer.runtime.source.pillow import decode_pillow, open_pillow
from edgeharfer.runtime.types import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3
_OS2_HEADER = 12
"""Size of the BMP header of OS/2 1.x, whose sides have 16 bits."""
_JPEG_START_OF_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
# SOF0 to SOF15 carry the size; 0xC4, 0xC8 and 0xCC among them are other segments (ITU-T T.81, B.1.1.3).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Chunks that OpenCV reads as Pillow does. Others may hold an animation, or the orientation as EXIF or XMP.
_PLAIN_PNG_CHUNKS = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME"}
    | {b"bKGD", b"sBIT"}
)
_WEBP_EXTRAS = 0x0E
"""Flags of a WebP with EXIF or XMP metadata, or an animation."""
_SIZES_IN_HEADER = frozenset({"JPEG", "PNG", "GIF", "BMP", "WebP"})
_UNREADABLE = "corrupt or unsupported image: convert it to JPEG or PNG"


def decode_image(data: bytes, where: str) -> Image:
    """Decode the bytes of an image file, or the first frame of an animation.

    Images of more than 8 bits per channel are scaled to 8 bits, greyscale becomes three channels, the alpha
    channel is dropped, and the orientation of the file is applied. OpenCV decodes plain JPEG, PNG and WebP
    files, which takes half the time, and Pillow all others.

    Args:
        data: Content of the file.
        where: File name for error messages.

    Returns:
        uint8 array of shape (height, width, 3), BGR.

    Raises:
        SourceError: The image is empty, too large, truncated, corrupt or of an unsupported format.
        MissingFormat: The image is of the HEIC format, whose decoder is an extra; also a SourceError.
    """
    if not data:
        raise SourceError(f"{where}: the image is empty")
    kind = image_format(data)
    if kind is None:
        raise SourceError(f"{where}: {_UNREADABLE}")
    check_size(size_from_header(data), where)
    if _is_cut_jpeg(data) or _is_broken_png(data):
        raise SourceError(f"{where}: the image is truncated or corrupt: copy or download it again")
    image = _decode_opencv(data) if _is_plain(data) else None
    return decode_pillow(data, kind, where) if image is None else image


def image_size(data: bytes, where: str) -> tuple[int, int]:
    """Return (width, height) of an image without decoding it, before its orientation is applied.

    Raises:
        SourceError: The header is damaged or missing.
        MissingFormat: The decoder is not installed.
    """
    size, kind = size_from_header(data), image_format(data)
    if kind is None:
        raise SourceError(f"{where}: {_UNREADABLE}")
    if size is None and kind.name in _SIZES_IN_HEADER:
        raise SourceError(f"{where}: the image has no size in its header; it is damaged")
    if size is None:
        with open_pillow(data, kind, where) as image:
            return image.size
    return size


def size_from_header(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) from the header of a PNG, JPEG, GIF, BMP, WebP or TIFF file, None if unknown."""
    try:
        if data.startswith(_PNG):
            return _pair(">II", data, 16)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data.startswith(b"BM"):
            (header,) = struct.unpack_from("<I", data, 14)
            width, height = _pair("<HH" if header == _OS2_HEADER else "<ii", data, 18)
            return abs(width), abs(height)
        if data.startswith(b"GIF8"):
            return read_gif_layout(data).size
        if data.startswith((b"II*\0", b"MM\0*")):
            return _tiff_size(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
    except struct.error:
        return None  # shorter than its header: the decoder reports it
    return None


def _decode_opencv(data: bytes) -> Image | None:
    silence_opencv()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None or image.ndim != 3 else np.asarray(image, np.uint8)


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


def _is_plain(data: bytes) -> bool:
    """Return whether OpenCV decodes this image as Pillow does, in less time."""
    return _is_plain_jpeg(data) or _is_plain_png(data) or _is_plain_webp(data)


def _is_plain_jpeg(data: bytes) -> bool:
    """Return whether this is a JPEG of 8 bits with one or three channels."""
    if not data.startswith(b"\xff\xd8"):
        return False
    for marker, offset in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            return data[offset + 2 : offset + 3] == b"\x08" and data[offset + 7 : offset + 8] in (
                b"\1",
                b"\3",
            )
    return False


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, start of the content, end) of the chunks of a PNG, up to IEND or the end of the data."""
    offset = len(_PNG)
    while offset + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        yield kind, offset + 8, offset + 8 + length
        if kind == b"IEND":
            return
        offset += 12 + length


def _is_broken_png(data: bytes) -> bool:
    """Check the CRCs of the critical chunks, before libpng prints to stderr."""
    if not data.startswith(_PNG):
        return False
    kind = b""
    for kind, start, end in png_chunks(data):
        if kind[:1].isupper() and not is_whole_chunk(data, start, end):
            return True
    return kind != b"IEND"


def is_whole_chunk(data: bytes, start: int, end: int) -> bool:
    """Return whether the checksum of a PNG chunk matches its content."""
    return data[end : end + 4] == zlib.crc32(data[start - 4 : end]).to_bytes(4, "big")


def _is_plain_png(data: bytes) -> bool:
    """Return whether this is a PNG of at most 8 bits without animation or metadata."""
    return (
        data.startswith(_PNG)
        and data[24:25] <= b"\x08"
        and all(kind in _PLAIN_PNG_CHUNKS for kind, _, _ in png_chunks(data))
    )


def _is_plain_webp(data: bytes) -> bool:
    """Return whether this is a WebP without animation or metadata (RFC 9649, 2.7)."""
    if not (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return False
    return data[12:16] in (b"VP8 ", b"VP8L") or (
        data[12:16] == b"VP8X" and not int.from_bytes(data[20:21], "little") & _WEBP_EXTRAS
    )


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
