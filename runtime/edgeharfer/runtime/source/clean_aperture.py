"""The clean aperture of an AVIF image: the part of the coded picture that is shown.

libavif leaves this crop to its caller, and Pillow does not apply it. (libheif applies it to HEIC images.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction

_MAX_PROPERTIES = 1000


def clean_aperture(data: bytes, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return the crop of the primary image before it is turned, None if there is none.

    Args:
        data: Content of the file.
        size: (width, height) of the coded picture in pixels.

    Returns:
        (left, top, right, bottom) in pixels (ISO/IEC 14496-12, 12.1.4.1).

    Raises:
        ValueError: The crop is not made of whole pixels within the picture.
    """
    try:
        content = _primary_property(data, b"clap")
    except struct.error:
        return None  # damaged: the decoder reports it
    if content is None or len(content) < 32:
        return None
    numbers = struct.unpack_from(">IIIIiIiI", content)
    if 0 in numbers[1::2]:
        raise ValueError("invalid clean aperture")
    width, height, x, y = (Fraction(numbers[i], numbers[i + 1]) for i in range(0, 8, 2))
    left, top = x + (size[0] - width) / 2, y + (size[1] - height) / 2
    box = left, top, left + width, top + height
    if any(side.denominator != 1 for side in box) or not (
        0 <= left < box[2] <= size[0] and 0 <= top < box[3] <= size[1]
    ):
        raise ValueError("invalid clean aperture")
    return int(left), int(top), int(box[2]), int(box[3])


def _primary_property(data: bytes, kind: bytes) -> bytes | None:
    """Return the content of a property of the primary item (ISO/IEC 23008-12, 9.3)."""
    meta = _find(data, 0, len(data), b"meta")
    if meta is None:
        return None
    start, end = meta[0] + 4, meta[1]
    primary, properties = _find(data, start, end, b"pitm"), _find(data, start, end, b"iprp")
    if primary is None or properties is None:
        return None
    container, links = _find(data, *properties, b"ipco"), _find(data, *properties, b"ipma")
    if container is None or links is None:
        return None
    (item,) = struct.unpack_from(">I" if data[primary[0]] else ">H", data, primary[0] + 4)
    boxes = list(_boxes(data, *container))
    for index in _associations(data, links[0], int(item)):
        if 0 < index <= len(boxes) and boxes[index - 1][0] == kind:
            return data[boxes[index - 1][1] : boxes[index - 1][2]]
    return None


def _associations(data: bytes, at: int, wanted: int) -> list[int]:
    """Return the numbers, from 1, of the properties of an item (ipma: ISO/IEC 23008-12, 9.3.1)."""
    version, flags = data[at], data[at + 3]
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(min(count, _MAX_PROPERTIES)):
        layout = ">IB" if version else ">HB"
        item, linked = struct.unpack_from(layout, data, at)
        at += struct.calcsize(layout)
        indexes = struct.unpack_from(f">{linked}H" if flags & 1 else f">{linked}B", data, at)
        at += linked * (2 if flags & 1 else 1)
        if item == wanted:
            return [index & (0x7FFF if flags & 1 else 0x7F) for index in indexes]
    return []


def _find(data: bytes, start: int, end: int, kind: bytes) -> tuple[int, int] | None:
    return next(((at, stop) for name, at, stop in _boxes(data, start, end) if name == kind), None)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, start of the content, end) of each box."""
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        stop = end if length == 0 else start + int(length)
        if stop < start + header or stop > end:
            return
        yield kind, start + header, stop
        start = stop
