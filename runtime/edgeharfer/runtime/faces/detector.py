"""What every face detector offers."""

from __future__ import annotations

import math
from typing import Protocol

from edgeharfer.runtime.types import Face, Image

Region = tuple[float, float, float, float]
"""x, y, width, height in pixels of the frame."""


class Detector(Protocol):
    """Finds faces in one picture."""

    def detect(self, bgr: Image, region: Region | None = None, *, closely: bool = False) -> list[Face]:
        """Faces of the frame, or of one region of it, best first; boxes in pixels of the frame.

        closely: the region is little more than one face; a detector may then look at fewer pixels.
        """

    def warm_up(self) -> None:
        """Run once, so that the first frame is not slower than the rest."""

    @property
    def provider(self) -> str:
        """Where it runs, in ONNX Runtime's words, or the library that runs it."""


def cut_region(bgr: Image, region: Region) -> tuple[int, int, Image]:
    """What the frame has of a region, in whole pixels: (left, top, picture); the picture may be empty."""
    x, y, width, height = region
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    return left, top, bgr[top : max(0, math.ceil(y + height)), left : max(0, math.ceil(x + width))]
