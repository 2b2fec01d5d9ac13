"""A clip as an endless film, and one with more faces in it than were filmed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces.detector import Detector, crop_region
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.source.base import BaseSource
from edgeharfer.runtime.types import Box, Frame, Image

FACE_CUT = 2.2
"""Side of the square around a face that is pasted, in sides of its box: hair and shoulders included."""
_BACKGROUND = 96
_USUAL_FPS = 30.0


class LoopedVideo(BaseSource):
    """A file again and again, its time running on, so that windows of time stay full.

    spec: as for open_source, of something with an end. start_s: time of the first frame.
    Raises ConfigError for live input, SourceError for what cannot be read.
    """

    def __init__(self, spec: str, clock: Any, start_s: float = 0.0) -> None:
        self._spec = spec
        self._reel = self._open()
        super().__init__(self._reel.name, clock)
        self.size, self.fps = self._reel.size, self._reel.fps
        self._step_s = 1 / (self._reel.fps or _USUAL_FPS)
        self._offset_s, self._last_s = start_s, start_s
        self._count = 0

    def _open(self) -> Source:
        reel = open_source(self._spec)
        if reel.live or reel.frame_count == 1:
            reel.close()
            raise ConfigError(f"{reel.name}: not a clip: give --source a video file")
        return reel

    def _next(self) -> Frame | None:
        frame = self._reel.read()
        if frame is None:
            self._reel.close()
            self._reel = self._open()
            self._offset_s = self._last_s + self._step_s
            frame = self._reel.read()
        if frame is None:
            raise SourceError(f"{self.name}: holds no frame")
        self._last_s = self._offset_s + frame.pts_s
        self._count += 1
        return replace(frame, seq=self._count - 1, pts_s=self._last_s, still=False)

    def _release(self) -> None:
        self._reel.close()


class CrowdedVideo(LoopedVideo):
    """The same film with the largest face of each frame pasted side by side, as often as wanted."""

    def __init__(
        self, spec: str, clock: Any, start_s: float = 0.0, *, faces: int, detector: Detector
    ) -> None:
        super().__init__(spec, clock, start_s)
        self._faces, self._detector = faces, detector
        self._box: Box | None = None

    def _next(self) -> Frame | None:
        frame = super()._next()
        if frame is None:
            return None
        found = self._detector.detect(frame.bgr)
        self._box = max((face.box for face in found), key=lambda box: box.area, default=self._box)
        if self._box is None:
            raise SourceError(f"{self.name}: begins without a face, which --faces would multiply")
        return replace(frame, bgr=crowd(frame.bgr, self._box, self._faces))


def crowd(bgr: Image, box: Box, faces: int) -> Image:
    """A picture of the same size with one face so many times, in rows and columns."""
    height, width = bgr.shape[:2]
    (x, y), side = box.center, FACE_CUT * max(box.width, box.height)
    _, _, cut = crop_region(bgr, (x - side / 2, y - side / 2, side, side))
    columns = math.ceil(math.sqrt(faces))
    rows = math.ceil(faces / columns)
    cell = min(width // columns, height // rows)
    scale = cell / max(cut.shape[:2])
    small = cv2.resize(cut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:cell, :cell]
    picture = np.full_like(bgr, _BACKGROUND)
    for number in range(faces):
        row, column = divmod(number, columns)
        top, left = row * height // rows, column * width // columns
        picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    return picture
