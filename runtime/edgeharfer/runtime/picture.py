"""Pictures that are converted to BGR, or scaled, when somebody asks for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""uint8, (height, width, 3), in BGR order unless stated otherwise."""
Grey = NDArray[np.uint8]
"""uint8, (height, width)."""


class Picture(ABC):
    """The content of a frame, upright and with square pixels, in the form in which it was decoded.

    Conversions are made on first use and kept; a picture can be used from several threads.

    Attributes:
        size: (width, height) in pixels.
        decoded: Whether the picture has pixels (see `SkippedPicture`).
        annotated: Whether the overlay is part of the picture already, as in a mosaic.
    """

    size: tuple[int, int]
    annotated: ClassVar[bool] = False
    decoded: ClassVar[bool] = True

    @property
    @abstractmethod
    def bgr(self) -> Image:
        """The pixels, uint8, (height, width, 3), in BGR order. Do not write into them."""

    def resized(self, width: int, height: int) -> Image:
        """Return the picture scaled without keeping its aspect ratio, uint8, (height, width, 3), BGR.

        Pixels are averaged where it shrinks (see `resize`).
        """
        return resize(self.bgr, width, height)

    def sampled(self, width: int, height: int) -> Image:
        """Return one pixel of each cell of a grid, uint8, (height, width, 3), BGR."""
        return np.asarray(cv2.resize(self.bgr, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)

    def sampled_grey(self, width: int, height: int) -> Grey:
        """Return the grey level of one pixel of each cell of a grid, uint8, (height, width)."""
        return np.asarray(cv2.cvtColor(self.sampled(width, height), cv2.COLOR_BGR2GRAY), np.uint8)

    def unconverted(self) -> Picture:
        """Return the same picture without conversions, which would take memory while it is kept."""
        return self

    def equals(self, other: Picture) -> bool:
        """Return whether both pictures have the same pixels."""
        # A few rows differ for most pictures, which avoids the full comparison.
        return np.array_equal(self.bgr[::16], other.bgr[::16]) and np.array_equal(self.bgr, other.bgr)


class BgrPicture(Picture):
    """A picture that is already in BGR order.

    Args:
        bgr: uint8, (height, width, 3).
    """

    def __init__(self, bgr: Image) -> None:
        self._bgr = bgr
        self.size = int(bgr.shape[1]), int(bgr.shape[0])

    @property
    def bgr(self) -> Image:
        return self._bgr


class SkippedPicture(Picture):
    """Stands for a picture that was not decoded because no task, sink or caller needed it.

    Args:
        size: (width, height) in pixels.
    """

    decoded = False

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    @property
    def bgr(self) -> Image:
        raise ValueError("this frame was not decoded, so it has no pixels")

    def equals(self, other: Picture) -> bool:
        return False


def resize(image: Image, width: int, height: int) -> Image:
    """Resize a uint8 image without keeping its aspect ratio: area averaging to shrink, bilinear to enlarge.

    While both sides can be halved, they are: OpenCV averages 2x2 blocks ten times as fast as other sizes. The
    result differs by half a grey value on average.
    """
    while _halves(image.shape[0], height) and _halves(image.shape[1], width):
        half = image.shape[1] // 2, image.shape[0] // 2
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] * image.shape[1] > width * height
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


def _halves(length: int, wanted: int) -> bool:
    return length % 2 == 0 and length >= 2 * wanted
