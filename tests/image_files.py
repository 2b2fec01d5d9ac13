"""Image files for tests, written by Pillow."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow

from edgeharfer.runtime.types import Image

ORIENTATION = 0x0112
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: a.transpose(1, 0, 2)[::-1],
}
"""How stored pixels become upright, by EXIF orientation (Exif 2.32, 4.6.4)."""


def patches(width: int = 48, height: int = 32) -> Image:
    """A BGR picture whose four quarters have different colours."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = 200, 40, 40
    picture[: height // 2, width // 2 :] = 40, 200, 40
    picture[height // 2 :, : width // 2] = 40, 40, 200
    picture[height // 2 :, width // 2 :] = 200, 200, 200
    return picture


def pillow(bgr: Image) -> Pillow.Image:
    """A BGR picture as one of Pillow."""
    return Pillow.fromarray(np.ascontiguousarray(bgr[:, :, ::-1]))


def saved(picture: Pillow.Image, kind: str, **options: Any) -> bytes:
    """A picture encoded by Pillow."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned(picture: Pillow.Image, kind: str, orientation: int, **options: Any) -> bytes:
    """A picture with an EXIF orientation."""
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    return saved(picture, kind, exif=exif, **options)


def animated(frames: Sequence[Image], kind: str, delays_ms: Sequence[int], **options: Any) -> bytes:
    """An animation of BGR frames."""
    first, *others = map(pillow, frames)
    return saved(first, kind, save_all=True, append_images=others, duration=list(delays_ms), **options)


def cropped_avif(data: bytes, size: tuple[int, int], box: tuple[int, int, int, int]) -> bytes:
    """An AVIF of Pillow, of a size, with a clean aperture of (left, top, right, bottom)."""
    width, height = box[2] - box[0], box[3] - box[1]
    shift_x, shift_y = box[0] + box[2] - size[0], box[1] + box[3] - size[1]  # twice the shift of the centre
    content = struct.pack(">4sIIIIiIiI", b"clap", width, 1, height, 1, shift_x, 2, shift_y, 2)
    clap = struct.pack(">I", len(content) + 4) + content
    at = {kind: data.index(kind) - 4 for kind in (b"meta", b"iloc", b"iprp", b"ipco", b"ipma")}
    patched = bytearray(data)
    grown = len(clap) + 1

    def add(offset: int, number: int) -> None:
        (before,) = struct.unpack_from(">I", patched, offset)
        struct.pack_into(">I", patched, offset, before + number)

    add(at[b"meta"], grown)
    add(at[b"iprp"], grown)
    add(at[b"ipco"], len(clap))
    add(at[b"ipma"], 1)
    items = struct.unpack_from(">H", data, at[b"iloc"] + 14)[0]
    for item in range(items):
        add(at[b"iloc"] + 16 + 14 * item + 6, grown)
    links = at[b"ipma"] + 18  # header, flags, number of items, first item
    properties, after = 0, at[b"ipco"] + 8
    end = at[b"ipco"] + struct.unpack_from(">I", data, at[b"ipco"])[0]
    while after < end:
        properties += 1
        after += struct.unpack_from(">I", data, after)[0]
    count = patched[links]
    patched[links] = count + 1
    patched.insert(links + 1 + count, 0x80 | (properties + 1))
    patched[end:end] = clap
    return bytes(patched)


def tiff(
    pixels: bytes,
    bits: int,
    size: tuple[int, int],
    sample_format: int = 1,
    extra: Sequence[tuple[int, int]] = (),
) -> bytes:
    """A grey TIFF of one strip, stored in rows of whole bytes."""
    fields = [(256, size[0]), (257, size[1]), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1),
              (278, size[1]), (279, len(pixels)), (339, sample_format), *extra]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(fields))
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(pixels))
        + pixels
        + struct.pack("<H", len(fields))
        + entries
        + bytes(4)
    )
