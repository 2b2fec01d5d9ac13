"""What every face detector offers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.types import Box, Face, Image

Region = tuple[float, float, float, float]
"""x, y, width, height in pixels of the frame."""
KNOWN_FACE_SCORE = 0.4
"""Enough for a face that stood there a moment ago, or to look closer: what the detector must report."""


@dataclass(frozen=True)
class DetectorOptions:
    """How a detector is loaded. One that does not run on ONNX Runtime uses `min_score` alone.

    backend: what its model runs on; the precision is the detector's own. min_score: report faces from this
    score up.
    """

    backend: Backend = CPU
    min_score: float = KNOWN_FACE_SCORE


class Detector(Protocol):
    """Finds faces in one image. A subclass inherits what has a default here."""

    def detect(self, bgr: Image, region: Region | None = None, *, close_up: bool = False) -> list[Face]:
        """Faces of the frame, or of one region of it, best first; boxes in pixels of the frame.

        close_up: the region is little more than one face; a detector may then look at fewer pixels.
        """

    @property
    def provider(self) -> str:
        """Where it runs, in ONNX Runtime's words, or the library that runs it."""

    @property
    def for_photographs(self) -> Detector:
        """The detector to use on photographs: this one, or a slower one that sees more."""
        return self

    @property
    def needs_tiles(self) -> bool:
        """Whether small faces in a photograph are found only by searching parts of it one by one."""
        return True

    @property
    def second_opinion(self) -> Detector | None:
        """The detector that has to find a new face of a video as well before it counts; None for no other."""
        return None

    def warm_up(self) -> None:
        """Run once, so that the first frame is not slower than the rest."""
        return

    def close(self) -> None:
        """Free what it holds. Harmless when repeated; nothing is detected afterwards."""
        return


def square_region(box: Box, sides: float) -> Region:
    """A square around a box, so many of its sides wide."""
    side = sides * max(box.width, box.height)
    x, y = box.center
    return x - side / 2, y - side / 2, side, side


def crop_region(bgr: Image, region: Region) -> tuple[int, int, Image]:
    """What the frame has of a region, in whole pixels: (left, top, image); the image may be empty."""
    x, y, width, height = region
    left, top = max(0, math.floor(x)), max(0, math.floor(y))
    return left, top, bgr[top : max(0, math.ceil(y + height)), left : max(0, math.ceil(x + width))]
