"""Image formats, detected by the first bytes of a file whatever its name, and the limit of their size."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgeharfer.runtime.errors import SourceError

MAX_MEGAPIXELS = 100
HEAD_BYTES = 4096
"""Number of bytes that are examined."""


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """An image format.

    Attributes:
        name: Key in `IMAGE_FORMATS`.
        suffixes: Suffixes of its files, the usual one first.
        module: Module of the Pillow plugin that reads it.
        reader: Class in that module.
        animated: Whether its files may be animations.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    reader: str
    animated: bool = False


IMAGE_FORMATS: Mapping[str, ImageFormat] = MappingProxyType({
    entry.name: entry
    for entry in (
        ImageFormat("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif"), "PIL.JpegImagePlugin", "JpegImageFile"),
        ImageFormat("PNG", (".png", ".apng"), "PIL.PngImagePlugin", "PngImageFile", True),
        ImageFormat("GIF", (".gif",), "PIL.GifImagePlugin", "GifImageFile", True),
        ImageFormat("WebP", (".webp",), "PIL.WebPImagePlugin", "WebPImageFile", True),
        ImageFormat("AVIF", (".avif", ".avifs"), "PIL.AvifImagePlugin", "AvifImageFile", True),
        ImageFormat("HEIC", (".heic", ".heif", ".hif"), "pillow_heif", "HeifImageFile"),
        ImageFormat("TIFF", (".tif", ".tiff"), "PIL.TiffImagePlugin", "TiffImageFile"),
        ImageFormat("BMP", (".bmp",), "PIL.BmpImagePlugin", "BmpImageFile"),
        ImageFormat("DIB", (".dib",), "PIL.BmpImagePlugin", "DibImageFile"),
        ImageFormat("PNM", (".ppm", ".pgm", ".pbm", ".pnm"), "PIL.PpmImagePlugin", "PpmImageFile"),
        ImageFormat("JPEG 2000", (".jp2", ".j2k", ".j2c", ".jpf", ".jpx"), "PIL.Jpeg2KImagePlugin",
                    "Jpeg2KImageFile"),
    )
})  # fmt: skip
"""The formats that are read, by name. Formats that Pillow passes to other programs (EPS, WMF) are not."""

IMAGE_SUFFIXES = frozenset(suffix for entry in IMAGE_FORMATS.values() for suffix in entry.suffixes)

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),  # BigTIFF
    (b"MM\0+", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
)
# ISO/IEC 23008-12 and the AVIF specification. The general brands say nothing about the codec.
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"})
_GENERAL_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"miaf", b"1pic"})
_DIB_HEADERS = (40, 52, 56, 64, 108, 124)


def image_format(head: bytes) -> ImageFormat | None:
    """Detect the format of an image from the first bytes of its file; None if it is not a supported one."""
    name = next((name for start, name in _STARTS if head.startswith(start)), None)
    if name is None and head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        name = "WebP"
    elif name is None and head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        name = "PNM"
    elif name is None and head[4:8] == b"ftyp":
        name = _heif_format(head)
    elif name is None and _is_dib(head):
        name = "DIB"
    return None if name is None else IMAGE_FORMATS[name]


def check_size(size: tuple[int, int] | None, where: str) -> None:
    """Check the size of an image before memory is allocated for it.

    Raises:
        SourceError: It has more than MAX_MEGAPIXELS.
    """
    if size is not None and size[0] * size[1] > MAX_MEGAPIXELS * 1_000_000:
        raise SourceError(
            f"{where}: the image size {size[0]}x{size[1]} is larger than {MAX_MEGAPIXELS} megapixels: "
            "resize the image"
        )


def _heif_format(head: bytes) -> str | None:
    major = head[8:12]
    if major not in _AVIF_BRANDS | _HEIC_BRANDS | _GENERAL_BRANDS:
        return None
    end = min(len(head), int.from_bytes(head[:4], "big"))
    brands = [major, *(head[at : at + 4] for at in range(16, end - 3, 4))]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    return "HEIC" if any(brand in _HEIC_BRANDS for brand in brands) or b"av01" not in head else "AVIF"


def _is_dib(head: bytes) -> bool:
    """Return whether this is a BMP file without its file header, as in the clipboard of Windows."""
    if len(head) < 16:
        return False
    size, planes, bits = struct.unpack_from("<I8xHH", head)
    return size in _DIB_HEADERS and planes == 1 and bits in (1, 4, 8, 16, 24, 32)
