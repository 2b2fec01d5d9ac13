"""The interface of face detectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.types import Box, Face, Image

Region = tuple[float, float, float, float]
"""x, y, width and height in pixels of the frame."""
KNOWN_FACE_SCORE = 0.4
"""Score from which a face close to a known face is accepted, or a region is searched again.

Detectors must report faces from this score up.
"""


@dataclass(frozen=True)
class DetectorOptions:
    """How to load a detector. Detectors that do not use ONNX Runtime only use `min_score`.

    Attributes:
        backend: Where its model runs; the precision is the detector's own.
        min_score: Lowest score of a reported face.
    """

    backend: Backend = CPU
    min_score: float = KNOWN_FACE_SCORE


class Detector(Protocol):
    """Find faces in one image. Subclasses inherit the defaults."""

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """Detect the faces of a frame.

        Args:
            bgr: uint8, (height, width, 3).
            region: Part of the frame to search; None for the whole frame.
            close_up: The region contains little more than one face, so a smaller input may be used.

        Returns:
            The faces, best first, in pixels of the frame.
        """

    @property
    def provider(self) -> str:
        """ONNX Runtime name of the provider, or the library that runs the detector."""

    @property
    def for_photographs(self) -> Detector:
        """The detector to use for photographs: this one, or a slower one that finds more."""
        return self

    @property
    def needs_tiles(self) -> bool:
        """Whether small faces of a photograph are only found by searching tiles of it."""
        return True

    @property
    def second_opinion(self) -> Detector | None:
        """The detector that must also find a new face of a video before it counts; None for no check."""
        return None

    def warm_up(self) -> None:
        """Run once, so that the first frame is as fast as the others."""
        return

    def close(self) -> None:
        """Release all resources. May be called repeatedly; the detector cannot be used afterwards."""
        return


def square_region(box: Box, sides: float) -> Region:
    """Return a square around the centre of a box, `sides` times as wide as its longer side."""
    side = sides * max(box.width, box.height)
    x, y = box.center
    return x - side / 2, y - side / 2, side, side


def crop_region(bgr: Image, region: Region) -> tuple[int, int, Image]:
    """Return the part of a region inside the frame, in whole pixels.

    Returns:
        Left, top and the image, which may be empty.
    """
    x, y, width, height = region
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    return left, top, bgr[top : max(0, math.ceil(y + height)), left : max(0, math.ceil(x + width))]
