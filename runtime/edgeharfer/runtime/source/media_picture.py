"""Pictures as the decoder returns them: turned upright, with square pixels, and converted on demand."""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.plane import VideoPlane
from av.video.reformatter import Colorspace, VideoReformatter
from numpy.typing import NDArray

from edgeharfer.runtime.picture import Grey, Image, Picture
from edgeharfer.runtime.source.image_format import MAX_MEGAPIXELS
from edgeharfer.runtime.source.yuv import YuvLayout, YuvPicture

_PLANAR = frozenset(f"yuv{j}{ratio}p" for j in ("", "j") for ratio in (420, 422, 440, 444))
_GRAY = "gray"
_JPEG_RANGE = 2  # AVCOL_RANGE_JPEG: all values from 0 to 255
_SQUARE = Fraction(1)
# Aspect ratios beyond this are damaged headers rather than pictures.
_MAX_ASPECT = 10
_HD_WIDTH, _SD_HEIGHT = 1280, 576
# AVColorSpace values that swscale converts itself: BT.709, FCC, BT.470BG, SMPTE 170M, SMPTE 240M, BT.2020.
_KNOWN_MATRICES = frozenset({1, 4, 5, 6, 7, 9})
# SWS_BILINEAR, SWS_POINT, SWS_AREA and SWS_FULL_CHR_H_INT of swscale; PyAV 17 has no name for the last one.
_BILINEAR, _POINT, _AREA, _FULL_CHROMA = 2, 0x10, 0x20, 0x2000
# To shrink with colours at full resolution would take twice as long.
_SHRINK, _ENLARGE = _AREA, _BILINEAR | _FULL_CHROMA
_MAX_SCALERS = 16
_PACKED = {3: "bgr24", 4: "bgra"}
_YUV420 = ("yuv420p", "yuvj420p")
# Formats with a plane of 8-bit luma.
_EIGHT_BIT_YUV = frozenset({"nv12", *_YUV420, "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})
# Grey level of each limited-range luma (Rec. ITU-R BT.601, 2.5.3: black is 16, white is 235).
_FULL_RANGE = np.clip(np.round((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight ways to turn and mirror a picture.

    Attributes:
        transposed: Whether rows and columns are exchanged, before the flips.
        mirrored: Whether the picture is flipped horizontally.
        upside_down: Whether the picture is flipped vertically.
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    @classmethod
    def from_matrix(cls, matrix: bytes) -> Orientation:
        """Return the orientation that is closest to a display matrix.

        Args:
            matrix: Nine native 32-bit integers (a, b, u, c, d, v, x, y, w) of FFmpeg's
                AV_FRAME_DATA_DISPLAYMATRIX: a point (x, y) is shown at (a x + c y, b x + d y).
        """
        if len(matrix) < 36:
            return UPRIGHT
        a, b, _, c, d = struct.unpack_from("=5i", matrix)
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, c < 0, b < 0)
        return cls(False, a < 0, d < 0)

    def oriented_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return (width, height) after turning, or before it: the operation is its own inverse."""
        return (size[1], size[0]) if self.transposed else size

    def apply(self, image: Image) -> Image:
        """Return the turned picture, uint8, (height, width[, 3])."""
        if self.transposed:
            image = np.asarray(cv2.transpose(image), np.uint8)
        if self.mirrored and self.upside_down:
            return np.asarray(cv2.flip(image, -1), np.uint8)
        if self.mirrored or self.upside_down:
            return np.asarray(cv2.flip(image, 1 if self.mirrored else 0), np.uint8)
        return image


UPRIGHT = Orientation()
_TURNS = {
    1: Orientation(transposed=True, upside_down=True),
    2: Orientation(mirrored=True, upside_down=True),
    3: Orientation(transposed=True, mirrored=True),
}
"""By quarter turns counterclockwise."""


@dataclass(frozen=True, slots=True)
class Display:
    """How a decoded picture is shown.

    Attributes:
        square: (width, height) with square pixels, before turning.
        orientation: How the picture is turned afterwards.
    """

    square: tuple[int, int]
    orientation: Orientation

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as shown."""
        return self.orientation.oriented_size(self.square)


def square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Return (width, height) with square pixels: one side is enlarged and none is reduced.

    This is how the HTML standard defines the natural size of a video.
    """
    square = (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))
    # A damaged header must not make an image that does not fit into memory.
    return square if square[0] * square[1] <= MAX_MEGAPIXELS * 1_000_000 else (width, height)


def usable_aspect(aspect: Fraction | None) -> Fraction:
    """Return an aspect ratio of pixels, or 1 if it is unknown or implausible."""
    plausible = aspect is not None and Fraction(1, _MAX_ASPECT) <= aspect <= _MAX_ASPECT
    return aspect if aspect is not None and plausible else _SQUARE


def orientation_of(frame: av.VideoFrame) -> Orientation | None:
    """Return the orientation that the display matrix of a frame states, None if it has none."""
    # Side data and its frame refer to each other, which would keep a large frame in memory for long.
    small = frame.reformat(width=16, height=16, interpolation=_POINT, threads=1)
    try:
        side_data: Mapping[str, object] = small.side_data
    except ValueError:  # side data of a kind that PyAV does not know
        return _TURNS.get(round(small.rotation / 90) % 4)
    matrix = side_data.get("DISPLAYMATRIX")
    return Orientation.from_matrix(bytes(matrix)) if isinstance(matrix, SideData) else None


class FrameConverter:
    """Converts the frames of a stream to BGR. Its scalers are set up once for each size and kept.

    Scalers, and a frame that is being converted, must not be used from two threads at once, so the lock
    serializes the conversions of a stream.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scalers: dict[tuple[tuple[int, int], int], VideoReformatter] = {}

    def convert(self, frame: av.VideoFrame, size: tuple[int, int]) -> Image:
        """Return a frame in BGR order: scaled by averaging to shrink, bilinearly to enlarge.

        Args:
            frame: A frame of any pixel format.
            size: (width, height) of the result.
        """
        if size == (frame.width, frame.height):
            return self._scaled(frame, size, _BILINEAR)
        shrinks = size[0] <= frame.width and size[1] <= frame.height
        return self._scaled(frame, size, _SHRINK if shrinks else _ENLARGE)

    def sampled(self, frame: av.VideoFrame, size: tuple[int, int]) -> Image:
        """Return single pixels of a frame, those that OpenCV's INTER_NEAREST would take from the picture."""
        if frame.format.name in _YUV420:
            frame = _sampled_yuv420(frame, size)
            blocks = self._scaled(frame, (frame.width, frame.height), _BILINEAR)
            return np.ascontiguousarray(blocks[::2, ::2])
        return self._scaled(frame, size, _POINT)

    def _scaled(self, frame: av.VideoFrame, size: tuple[int, int], how: int) -> Image:
        # swscale scales to four channels in a fifth less time, more than OpenCV needs to drop one of them.
        channels = 4 if how == _AREA else 3
        with self._lock:
            if len(self._scalers) > _MAX_SCALERS:  # streams whose size changes all the time
                self._scalers.clear()
            scaler = self._scalers.setdefault((size, how), VideoReformatter())
            scaled = scaler.reformat(
                frame, *size, _PACKED[channels], src_colorspace=_matrix(frame), interpolation=how, threads=1
            )
        lines = np.ascontiguousarray(_lines(scaled.planes[0])[:, : channels * scaled.width])
        pixels = lines.reshape(scaled.height, scaled.width, channels)
        return pixels if channels == 3 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR), np.uint8)


class AvPicture(Picture):
    """A picture as PyAV decoded it, kept in the decoder's pixel format.

    Args:
        frame: The decoded frame.
        display: How it is shown.
        converter: Converter of the stream.
    """

    def __init__(self, frame: av.VideoFrame, display: Display, converter: FrameConverter) -> None:
        self.size = display.size
        self._frame, self._display, self._converter = frame, display, converter
        self._bgr: Image | None = None
        self._resized: dict[tuple[int, int], Image] = {}

    @property
    def bgr(self) -> Image:
        if self._bgr is None:
            self._bgr = self._converted(self.size)
        return self._bgr

    def resized(self, width: int, height: int) -> Image:
        size = width, height
        if size == self.size:
            return self.bgr
        if size not in self._resized:
            self._resized[size] = self._converted(size)
        return self._resized[size]

    def sampled(self, width: int, height: int) -> Image:
        orientation = self._display.orientation
        stored = orientation.oriented_size((width, height))
        return orientation.apply(self._converter.sampled(self._frame, stored))

    def sampled_grey(self, width: int, height: int) -> Grey:
        frame, name = self._frame, self._frame.format.name
        if name not in _EIGHT_BIT_YUV:
            return super().sampled_grey(width, height)
        orientation = self._display.orientation
        luma = frame.planes[0]
        if luma.line_size < 0:  # stored from the last line to the first
            return super().sampled_grey(width, height)
        stored = orientation.oriented_size((width, height))
        grey = _sampled(_lines(luma)[:, : frame.width], stored)
        if not (name.startswith("yuvj") or frame.color_range == _JPEG_RANGE):
            grey = np.asarray(cv2.LUT(grey, _FULL_RANGE), np.uint8)
        return orientation.apply(grey)

    def equals(self, other: Picture) -> bool:
        if not isinstance(other, AvPicture):
            return super().equals(other)
        if self._display != other._display or self._frame.format.name != other._frame.format.name:
            return False
        mine, others = _planes(self._frame), _planes(other._frame)
        if mine is None or others is None:
            return super().equals(other)
        pairs = list(zip(mine, others, strict=True))
        # A few rows differ for most pictures, which avoids the full comparison.
        return all(np.array_equal(a[::16], b[::16]) for a, b in pairs) and all(
            np.array_equal(a, b) for a, b in pairs
        )

    def _converted(self, size: tuple[int, int]) -> Image:
        orientation = self._display.orientation
        return orientation.apply(self._converter.convert(self._frame, orientation.oriented_size(size)))


def _matrix(frame: av.VideoFrame) -> Colorspace | None:
    """Return the colour matrix of a frame that states none, guessed from its size as players do."""
    if frame.colorspace in _KNOWN_MATRICES:
        return None
    high_definition = frame.width >= _HD_WIDTH or frame.height > _SD_HEIGHT
    return Colorspace.ITU709 if high_definition else Colorspace.ITU601


def _planes(frame: av.VideoFrame) -> list[NDArray[np.uint8]] | None:
    """Return the bytes of each plane without padding, uint8, (height, bytes per line).

    Returns:
        None if a plane holds several components, so that the length of its lines is unknown.
    """
    components = frame.format.components
    if len(components) != len(frame.planes):
        return None
    sizes = [component.width * ((component.bits + 7) // 8) for component in components]
    return [_lines(plane)[:, :size] for plane, size in zip(frame.planes, sizes, strict=True)]


def _sampled(plane: NDArray[np.uint8], size: tuple[int, int]) -> Grey:
    """Return the pixels of a plane, (height, width), that OpenCV's INTER_NEAREST would take."""
    (rows, columns), (width, height) = plane.shape, size
    if rows % height or columns % width:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    return np.ascontiguousarray(plane[:: rows // height, :: columns // width])


def _lines(plane: VideoPlane) -> NDArray[np.uint8]:
    """Return the bytes of a plane with the padding of its lines, from top to bottom."""
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))
    return lines if plane.line_size > 0 else lines[::-1]


def _nearest(wanted: int, given: int) -> NDArray[np.intp]:
    """Return which of `given` pixels OpenCV's INTER_NEAREST would take for each of `wanted`."""
    return (np.arange(wanted) * (given / wanted)).astype(np.intp)


def _sampled_yuv420(frame: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
    """Return a frame in which each sampled pixel fills 2x2 pixels, as 4:2:0 stores one colour for four."""
    columns, rows = (
        _nearest(wanted, given) for wanted, given in zip(size, (frame.width, frame.height), strict=True)
    )
    small = av.VideoFrame(2 * size[0], 2 * size[1], frame.format.name)
    small.colorspace, small.color_range = int(frame.colorspace), int(frame.color_range)
    y, u, v = (_lines(plane) for plane in frame.planes)
    to_y, to_u, to_v = (_lines(plane) for plane in small.planes)
    to_y[:, : 2 * size[0]] = y[rows][:, columns].repeat(2, axis=0).repeat(2, axis=1)
    to_u[:, : size[0]] = u[rows // 2][:, columns // 2]
    to_v[:, : size[0]] = v[rows // 2][:, columns // 2]
    return small


def to_planes(picture: AvPicture) -> YuvPicture | None:
    """Return a copy of the planes of a picture; None if it is turned, stretched or has no such planes."""
    frame = picture._frame
    shown_as_stored = picture._display == Display((frame.width, frame.height), UPRIGHT)
    return frame_planes(frame) if shown_as_stored else None


def frame_planes(frame: av.VideoFrame) -> YuvPicture | None:
    """Return a copy of the planes of a frame, without padding; None if they are not YUV of 8 bits."""
    name = frame.format.name
    planes = _planes(frame) if name in _PLANAR or name == _GRAY else None
    if planes is None:
        return None
    chroma_height, chroma_width = planes[1].shape if len(planes) > 1 else (0, 0)
    full_range = name == _GRAY or name.startswith("yuvj") or frame.color_range == _JPEG_RANGE
    matrix = int(_matrix(frame) or frame.colorspace)
    layout = YuvLayout(frame.width, frame.height, chroma_width, chroma_height, matrix, full_range)
    return YuvPicture(layout, np.concatenate([plane.ravel() for plane in planes]))
