"""Checks whether a video file contains all the frames that its container declares."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""Types of the first box of an MP4 or QuickTime file (ISO/IEC 14496-12, 4.2)."""
_EBML, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
_MAX_BOXES = 100_000


def is_cut_off(path: Path) -> bool:
    """Return whether an MP4, QuickTime, AVI, Matroska or WebM file is shorter than its container declares.

    Other containers, and files written by a live muxer, do not declare a length.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            head = file.read(12)
            if head[4:8] in _ATOMS:
                return _end_of_boxes(file) > size
            if head[:4] == b"RIFF":
                (length,) = struct.unpack_from("<I", head, 4)
                return int(length) + 8 > size + 1  # some writers count a padding byte that does not exist
            if head[:4] == _EBML:
                return _end_of_segment(file) > size
        except (struct.error, IndexError):
            return False  # truncated within a header, so the length is unknown
    return False


def missing_frames(path: Path, expected: int | None, read: int, fps: float | None) -> int:
    """Return how many of the expected frames were not read, 0 if the difference may have other reasons.

    AVI and MP4 declare a number of frames, although the edit list of an MP4 may exclude some. Other
    containers declare a duration, which may be that of the audio: there only a large difference counts.

    Args:
        path: The video file.
        expected: Number of frames from the container, None if unknown.
        read: Number of frames that were decoded.
        fps: Nominal frame rate, None if unknown.
    """
    missing = (expected or 0) - read
    if missing <= 0 or not expected:
        return 0
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            return missing
        if head[4:8] in _ATOMS:
            duration_s = _movie_duration_s(file)
            trimmed = duration_s is not None and fps is not None and duration_s < (expected - 2) / fps
            return 0 if trimmed else missing
    allowed = max(fps or 0.0, 0.1 * expected)
    return missing if missing > allowed else 0


def _boxes(file: BinaryIO, start: int, end: int) -> list[tuple[bytes, int, int]]:
    """Return (type, start of the content, end) of each box; the end of the last may lie after `end`."""
    found: list[tuple[bytes, int, int]] = []
    while start + 8 <= end and len(found) < _MAX_BOXES:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
            header = 16
        if length == 0:  # to the end of the file
            length = end - start
        if length < header or not kind.isascii():
            break  # padding or other data after the last box
        found.append((kind, start + header, start + length))
        start += length
    return found


def _end_of_boxes(file: BinaryIO) -> int:
    boxes = _boxes(file, 0, file.seek(0, 2))
    return boxes[-1][2] if boxes else 0


def _movie_duration_s(file: BinaryIO) -> float | None:
    """Return the duration of the presentation, after edit lists (mvhd: ISO/IEC 14496-12, 8.2.2)."""
    for kind, start, end in _boxes(file, 0, file.seek(0, 2)):
        if kind != b"moov":
            continue
        for inner, at, _ in _boxes(file, start, end):
            if inner == b"mvhd":
                file.seek(at)
                data = file.read(32)
                layout, offset = (">IQ", 20) if data[:1] == b"\x01" else (">II", 12)
                if len(data) < offset + struct.calcsize(layout):
                    return None
                scale, duration = struct.unpack_from(layout, data, offset)
                return duration / scale if scale else None
    return None


def _end_of_segment(file: BinaryIO) -> int:
    """Return the end of the first segment, 0 if it declares no size (RFC 8794, 4 to 6)."""
    file.seek(4)
    header = _vint(file)
    file.seek(header or 0, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _vint(file)
    return 0 if length is None else file.tell() + length


def _vint(file: BinaryIO) -> int | None:
    """Read a variable-size integer; None for the value that means "unknown size"."""
    first = file.read(1)[0]
    width = 9 - first.bit_length()
    if width > 8:
        return None
    value = first & (0xFF >> width)
    for byte in file.read(width - 1):
        value = value << 8 | byte
    return None if value == (1 << 7 * width) - 1 else value
