"""Detects media formats by the first bytes of a file. Only the listed formats reach a decoder.

FFmpeg also detects formats by content, and some of its formats open other files or addresses (playlists,
concatenations, SDP). Those are text formats, and none is listed here.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 64 * 1024
"""Number of bytes that are examined."""
_TS_PACKET, _TS_SYNC = 188, 0x47  # ISO/IEC 13818-1, 2.4.3
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")  # ISO/IEC 23008-12


@dataclass(frozen=True, slots=True)
class MediaFormat:
    """A media format.

    Attributes:
        name: Common name.
        still: Whether it is a picture rather than a video.
        suffix: Suffix of the stored file.
    """

    name: str
    still: bool
    suffix: str


def sniff(head: bytes) -> MediaFormat | None:
    """Detect the format of a file from its first bytes; None if it is not a supported one."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return None if head[8:12] in _PICTURE_BRANDS else MediaFormat("MP4", False, ".mp4")
    if head[4:8] in (b"moov", b"mdat", b"wide", b"free", b"skip"):  # QuickTime files without ftyp
        return MediaFormat("QuickTime", False, ".mov")
    packets = head[: 4 * _TS_PACKET : _TS_PACKET]
    if len(packets) == 4 and set(packets) == {_TS_SYNC}:
        return MediaFormat("MPEG transport stream", False, ".ts")
    return None


_STARTS = (
    (b"\xff\xd8\xff", MediaFormat("JPEG", True, ".jpg")),
    (b"\x89PNG\r\n\x1a\n", MediaFormat("PNG", True, ".png")),
    (b"BM", MediaFormat("BMP", True, ".bmp")),
    (b"II*\0", MediaFormat("TIFF", True, ".tif")),
    (b"MM\0*", MediaFormat("TIFF", True, ".tif")),
    (b"\x1aE\xdf\xa3", MediaFormat("Matroska", False, ".mkv")),  # also WebM
    (b"FLV\x01", MediaFormat("FLV", False, ".flv")),
    (b"OggS", MediaFormat("Ogg", False, ".ogv")),
    (b"\x00\x00\x01\xba", MediaFormat("MPEG", False, ".mpg")),
    (b"\x00\x00\x01\xb3", MediaFormat("MPEG", False, ".mpg")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", MediaFormat("ASF", False, ".wmv")),
    (b"YUV4MPEG2 ", MediaFormat("YUV4MPEG", False, ".y4m")),
)
_RIFF = {
    b"WEBP": MediaFormat("WebP", True, ".webp"),
    b"AVI ": MediaFormat("AVI", False, ".avi"),
    b"AVIX": MediaFormat("AVI", False, ".avi"),
}
