"""Pictures that are converted to BGR, or scaled, when somebody asks for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""uint8, (height, width, 3), in BGR order unless stated otherwise."""


class Picture(ABC):
    """The content of a frame, upright and with square pixels, in the form in which it was decoded.

    Conversions are made on first use and kept; a picture can be used from several threads.

    Attributes:
        size: (width, height) in pixels.
        decoded: Whether the picture has pixels (see `SkippedPicture`).
    """

    size: tuple[int, int]
    decoded: ClassVar[bool] = True

    @property
    @abstractmethod
    def bgr(self) -> Image:
        """The pixels, uint8, (height, width, 3), in BGR order. Do not write into them."""

    def resized(self, width: int, height: int) -> Image:
        """Return the picture scaled by averaging the pixels of each area, uint8, (height, width, 3), BGR."""
        return np.asarray(cv2.resize(self.bgr, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    def sampled(self, width: int, height: int) -> Image:
        """Return one pixel of each cell of a grid, uint8, (height, width, 3), BGR."""
        return np.asarray(cv2.resize(self.bgr, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)

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
