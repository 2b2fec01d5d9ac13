"""Pictures as planes of brightness and colour, which is how most decoders return them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.picture import Image, Picture

Plane: TypeAlias = NDArray[np.uint8]

COLOR_WEIGHTS = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.470 BG, the same as BT.601; also JPEG
    6: (0.299, 0.114),  # SMPTE 170M, the same as BT.601
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
}
"""Weights of red and blue in the brightness by colour matrix (ITU-T H.273, table 4)."""
_BT601 = frozenset({5, 6})


@dataclass(frozen=True, slots=True)
class YuvLayout:
    """The planes of a picture, one byte a sample: brightness, blue difference, red difference.

    Attributes:
        width: Columns of the first plane, which are those of the picture.
        height: Rows of the first plane.
        chroma_width: Columns of the other two; 0 for a greyscale picture.
        chroma_height: Rows of the other two.
        matrix: Colour matrix, a key of COLOR_WEIGHTS.
        full_range: Whether the samples use all values from 0 to 255, instead of 16 to 235 and 240.
    """

    width: int
    height: int
    chroma_width: int
    chroma_height: int
    matrix: int
    full_range: bool

    @property
    def valid(self) -> bool:
        """Whether the sizes belong together, as in 4:2:0, 4:2:2, 4:4:0, 4:4:4 and greyscale."""
        gray = self.chroma_width == self.chroma_height == 0
        halves = self.chroma_width in _sizes(self.width) and self.chroma_height in _sizes(self.height)
        return min(self.width, self.height) > 0 and (gray or halves) and self.matrix in COLOR_WEIGHTS

    @property
    def chroma_bytes(self) -> int:
        """Bytes of the second plane, and of the third."""
        return self.chroma_width * self.chroma_height

    @property
    def size_bytes(self) -> int:
        """Bytes of all planes."""
        return self.width * self.height + 2 * self.chroma_bytes


def _sizes(full: int) -> tuple[int, int]:
    return full, (full + 1) // 2


class YuvPicture(Picture):
    """A picture kept as planes. BGR pixels are computed on first use, for the whole picture or a small copy.

    Args:
        layout: Sizes and colours; it must be valid.
        data: All planes in order, uint8, (layout.size_bytes,).
    """

    def __init__(self, layout: YuvLayout, data: Plane) -> None:
        self.layout, self.data = layout, data
        self.size = layout.width, layout.height
        self._bgr: Image | None = None
        start, length = layout.width * layout.height, layout.chroma_bytes
        self._planes = [data[:start].reshape(layout.height, layout.width)]
        if length:
            for begin in (start, start + length):
                plane = data[begin : begin + length]
                self._planes.append(plane.reshape(layout.chroma_height, layout.chroma_width))

    @property
    def bgr(self) -> Image:
        if self._bgr is None:
            self._bgr = self._from_bt601() if self._is_bt601_420 else self._scaled(self.size)
        return self._bgr

    def resized(self, width: int, height: int) -> Image:
        return self.bgr if (width, height) == self.size else self._scaled((width, height))

    def sampled(self, width: int, height: int) -> Image:
        return self._to_bgr(_merge([_sample(plane, width, height) for plane in self._planes]))

    def sampled_grey(self, width: int, height: int) -> Plane:
        """Return the grey level of one pixel of each cell of a grid, uint8, (height, width)."""
        luma = _sample(self._planes[0], width, height)
        return luma if self.layout.full_range else np.asarray(cv2.LUT(luma, _grey_levels()), np.uint8)

    def unconverted(self) -> YuvPicture:
        return YuvPicture(self.layout, self.data)

    def equals(self, other: Picture) -> bool:
        if not isinstance(other, YuvPicture):
            return super().equals(other)
        one, two = self._planes[0], other._planes[0]
        # A few rows differ for most pictures, which avoids the full comparison.
        return (
            self.layout == other.layout
            and np.array_equal(one[::16], two[::16])
            and np.array_equal(self.data, other.data)
        )

    @property
    def _is_bt601_420(self) -> bool:
        layout = self.layout
        even = 2 * layout.chroma_width == layout.width and 2 * layout.chroma_height == layout.height
        return even and layout.matrix in _BT601 and not layout.full_range

    def _from_bt601(self) -> Image:
        """Convert the one form that OpenCV has a fast function for."""
        planes = self.data.reshape(-1, self.layout.width)
        return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420), np.uint8)

    def _scaled(self, size: tuple[int, int]) -> Image:
        luma, *chroma = self._planes
        stored = chroma[0].shape[::-1] if chroma else size
        if size[0] <= stored[0] and size[1] <= stored[1]:
            # The planes are brought to one size, so that the slower scaling by a fraction is done once.
            return self._to_bgr(_scale(_merge([_scale(luma, stored), *chroma]), size))
        return self._to_bgr(_buffers.merge_scaled(self._planes, size))

    def _to_bgr(self, samples: Plane) -> Image:
        matrix = _matrix(self.layout.matrix, self.layout.full_range)
        if samples.ndim == 2:
            matrix = matrix[:, [0, 3]] + [[0, 128 * one] for one in matrix[:, 1:3].sum(axis=1)]
        return np.asarray(cv2.transform(samples, matrix.astype(np.float32)), np.uint8)


class _Buffers(threading.local):
    """Arrays that conversions use again, in each thread its own.

    The system has to clear the memory of new arrays of this size, which takes longer than the conversion.
    """

    def __init__(self) -> None:
        self._chroma = [np.empty((0, 0), np.uint8)] * 2
        self._merged = np.empty((0, 0, 3), np.uint8)

    def merge_scaled(self, planes: list[Plane], size: tuple[int, int]) -> Plane:
        """Return planes scaled to (width, height) and merged, which the next call overwrites."""
        luma, *chroma = (_scale(planes[0], size), *planes[1:])
        if not chroma:
            return luma
        if luma.shape != self._merged.shape[:2]:
            self._chroma = [np.empty_like(luma), np.empty_like(luma)]
            self._merged = np.empty((*luma.shape, 3), np.uint8)
        for plane, target in zip(chroma, self._chroma, strict=True):
            cv2.resize(plane, size, dst=target, interpolation=_interpolation(plane, size))
        cv2.merge([luma, *self._chroma], self._merged)
        return self._merged


_buffers = _Buffers()


def _merge(planes: list[Plane]) -> Plane:
    return np.asarray(cv2.merge(planes), np.uint8)


def _scale(plane: Plane, size: tuple[int, int]) -> Plane:
    rows, columns = plane.shape[:2]
    if size == (columns, rows):
        return plane
    return np.asarray(cv2.resize(plane, size, interpolation=_interpolation(plane, size)), np.uint8)


def _sample(plane: Plane, width: int, height: int) -> Plane:
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _interpolation(plane: Plane, size: tuple[int, int]) -> int:
    rows, columns = plane.shape[:2]
    return cv2.INTER_AREA if size[0] <= columns and size[1] <= rows else cv2.INTER_LINEAR


@lru_cache(maxsize=16)
def _matrix(matrix: int, full_range: bool) -> NDArray[np.float64]:
    """Return the conversion to BGR, (3, 4): factors of the samples and a constant."""
    red, blue = COLOR_WEIGHTS[matrix]
    green = 1 - red - blue
    luma, chroma, black = (1.0, 1.0, 0.0) if full_range else (255 / 219, 255 / 224, 16.0)
    to_blue, to_red = 2 * (1 - blue) * chroma, 2 * (1 - red) * chroma
    factors = np.array([
        [luma, to_blue, 0.0],
        [luma, -to_blue * blue / green, -to_red * red / green],
        [luma, 0.0, to_red],
    ])  # fmt: skip
    return np.column_stack([factors, -factors @ [black, 128.0, 128.0]])


@lru_cache(maxsize=1)
def _grey_levels() -> Plane:
    """Return the grey level of each value of limited-range brightness (ITU-R BT.601, 2.5.3)."""
    return np.asarray(np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255), np.uint8)
