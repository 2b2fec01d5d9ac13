"""The blocks of a GIF file, without decoding them (GIF89a specification, 17 to 27)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEADER_BYTES = 13
_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B


@dataclass(frozen=True, slots=True)
class GifLayout:
    """What a GIF file contains.

    Attributes:
        count: Number of frames, including one that is cut off.
        size: (width, height) in pixels of the canvas, enlarged so that it holds every frame.
        complete: Whether the file has its end.
    """

    count: int
    size: tuple[int, int]
    complete: bool


def read_gif_layout(data: bytes) -> GifLayout:
    """Read the layout of a GIF.

    Raises:
        struct.error: The file is shorter than its header.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    offset, count, complete = _HEADER_BYTES + _colour_table(flags), 0, False
    try:
        while not complete:
            if data[offset] == _IMAGE:
                left, top, columns, rows, flags = struct.unpack_from("<HHHHB", data, offset + 1)
                width, height = max(width, left + columns), max(height, top + rows)
                count += 1
                offset = _after_blocks(data, offset + 11 + _colour_table(flags))
            elif data[offset] == _EXTENSION:
                offset = _after_blocks(data, offset + 2)
            else:
                complete = data[offset] == _TRAILER
                offset += 1
    except (IndexError, struct.error):
        complete = False  # the file ends within a block
    return GifLayout(count, (int(width), int(height)), complete)


def _colour_table(flags: int) -> int:
    """Return the size of the colour table that these flags announce, in bytes."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, offset: int) -> int:
    """Return the offset after a series of data blocks."""
    while data[offset]:
        offset += 1 + data[offset]
    return offset + 1
