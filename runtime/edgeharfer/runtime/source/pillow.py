"""Images that Pillow decodes, or pillow-heif for HEIC."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import MissingFormat, SourceError
from edgeharfer.runtime.source.clean_aperture import clean_aperture
from edgeharfer.runtime.source.image_format import ImageFormat, check_size
from edgeharfer.runtime.types import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageFile import ImageFile

_ORIENTATION = 0x0112  # Exif 2.32, 4.6.4
# TIFF 6.0, NewSubfileType: bit 0 marks a smaller copy of another image. DNG 1.7: DNGVersion.
_TIFF_SUBFILE, _TIFF_BITS, _DNG_VERSION = 254, 258, 50706
_RANGES = (1.0, 255.0, 65535.0)
"""White of pixels whose range no format defines: the first one that holds the brightest pixel."""

# Filters of warnings belong to the process, so that only one thread at a time may change them.
_warnings_lock = threading.Lock()


def open_pillow(data: bytes, kind: ImageFormat, where: str) -> ImageFile:
    """Read the header of an image, without decoding it.

    Args:
        data: Content of the file.
        kind: Format of the file.
        where: File name for error messages.

    Raises:
        SourceError: The image is damaged or too large.
        MissingFormat: The decoder is not installed.
    """
    try:
        reader = getattr(import_module(kind.module), kind.reader)
    except ImportError as error:
        raise MissingFormat(f"{where}: {kind.name} support", "heif") from error
    with pillow_errors(where):
        image: ImageFile = reader(BytesIO(data))
        check_size(image.size, where)
        if kind.name == "TIFF" and _is_raw(image, data):
            raise SourceError(f"{where}: camera raw files are not supported: convert it to JPEG")
        return image


def decode_pillow(data: bytes, kind: ImageFormat, where: str) -> Image:
    """Decode an image, or the first frame of an animation.

    Returns:
        uint8 array of shape (height, width, 3), BGR, upright.

    Raises:
        SourceError: The image is damaged or too large.
        MissingFormat: The decoder is not installed.
    """
    with open_pillow(data, kind, where) as image, pillow_errors(where):
        return frame_bgr(image, data)


def frame_bgr(image: ImageFile, data: bytes) -> Image:
    """Decode the current frame.

    Args:
        image: The open file; later frames of an animation can still be read from it.
        data: Content of the file.

    Returns:
        uint8 array of shape (height, width, 3), BGR, upright.

    Raises:
        Exception: Pillow raises many types for damaged files, see `pillow_errors`.
    """
    from PIL import ImageOps

    image.load()
    crop = clean_aperture(data, image.size) if image.format == "AVIF" else None
    stored = image if crop is None else image.crop(crop)
    upright = ImageOps.exif_transpose(stored) if stored.getexif().get(_ORIENTATION, 1) != 1 else stored
    if upright.mode == "F" or upright.mode.startswith("I"):
        return cv2.cvtColor(_eight_bits(image, upright), cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    rgb = upright if upright.mode == "RGB" else upright.convert("RGB")
    return np.asarray(cv2.cvtColor(np.asarray(rgb), cv2.COLOR_RGB2BGR), np.uint8)


def _is_raw(image: ImageFile, data: bytes) -> bool:
    """Return whether a TIFF holds raw sensor data, with a preview as its first image."""
    tags: Any = getattr(image, "tag_v2", {})
    return bool(tags.get(_TIFF_SUBFILE, 0) & 1) or _DNG_VERSION in tags or data[8:10] == b"CR"


@contextmanager
def pillow_errors(where: str) -> Iterator[None]:
    """Turn the errors of Pillow's decoders into SourceError, and discard their warnings.

    Raises:
        SourceError: The image is truncated, corrupt or of an unsupported kind.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (SourceError, MemoryError):
            raise
        except Exception as error:  # a damaged file can make a decoder raise any type
            raise SourceError(f"{where}: {_describe(error)}") from error


def _describe(error: Exception) -> str:
    reason = str(error).strip().rstrip(".")
    if "truncated" in reason.lower():
        return "the image is truncated or corrupt: copy or download it again"
    detail = f" ({reason})" if reason and len(reason) < 100 and " at 0x" not in reason else ""
    return f"corrupt or unsupported image{detail}: convert it to JPEG or PNG"


def _eight_bits(image: ImageFile, upright: PillowImage) -> NDArray[np.uint8]:
    """Scale grey pixels of more than 8 bits to 8 bits; Pillow would clip them.

    16-bit pixels keep their high byte (of 12 in TIFF files that say so). Floating-point and 32-bit pixels
    are scaled by `_RANGES`.
    """
    pixels = np.asarray(upright)
    if upright.mode.startswith("I;16"):
        tags: Any = getattr(image, "tag_v2", {})
        bits = tags.get(_TIFF_BITS, (16,))[0]
        shift: int = bits - 8 if 8 < bits < 16 and pixels.max() < 1 << bits else 8
        return np.asarray(pixels >> shift).astype(np.uint8)
    values = np.nan_to_num(pixels.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    brightest = float(values.max())
    first = 0 if upright.mode == "F" else 1
    if image.format == "PPM":  # 16 bits, which Pillow scales to the full range
        white = _RANGES[2]
    else:
        white = next((white for white in _RANGES[first:] if brightest <= white), 0.0)
    if not white:
        raise ValueError("32-bit pixels with an unknown range")
    return np.asarray(np.clip(values * (255.0 / white), 0, 255), np.uint8)
