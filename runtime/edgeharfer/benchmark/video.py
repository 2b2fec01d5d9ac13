"""Video sources of the benchmark: an endlessly repeated clip, also with multiplied faces."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.faces.detector import Detector, crop_region
from edgeharfer.runtime.source import Source, open_source
from edgeharfer.runtime.source.base import BaseSource
from edgeharfer.runtime.source.video import VideoFileSource
from edgeharfer.runtime.types import Box, Frame, Image

FACE_CUT = 2.2
"""Side of the pasted square relative to that of the face box, to include hair and shoulders."""
_BACKGROUND = 96
_USUAL_FPS = 30.0


class LoopedVideo(BaseSource):
    """Repeats a file with increasing timestamps, so that time windows stay full.

    Args:
        spec: Source specification of a video file.
        clock: Clock of the source.
        start_s: Time of the first frame.

    Raises:
        ConfigError: The source is live or a single picture.
        SourceError: The file cannot be read.
    """

    def __init__(self, spec: str, clock: Any, start_s: float = 0.0) -> None:
        self._spec = spec
        self._source = self._open()
        super().__init__(self._source.name, clock)
        self.size, self.fps = self._source.size, self._source.fps
        self._step_s = 1 / (self._source.fps or _USUAL_FPS)
        self._offset_s, self._last_s = start_s, start_s
        self._count = 0

    def _open(self) -> Source:
        source = open_source(self._spec)
        if source.live or source.frame_count == 1:
            source.close()
            raise ConfigError(f"{source.name}: not a video: pass a video file with --source")
        return source

    def _next(self) -> Frame | None:
        frame = self._read()
        if frame is None:
            self._start_again()
            frame = self._read()
        if frame is None:
            raise SourceError(f"{self.name}: the video has no frames")
        self._last_s = self._offset_s + frame.pts_s
        self._count += 1
        return Frame(self._count - 1, self._last_s, frame.captured_s, frame.picture)

    def _start_again(self) -> None:
        """Rewind the file: a run opens its file once, and opening takes as long as several frames."""
        self._offset_s = self._last_s + self._step_s
        if not (isinstance(self._source, VideoFileSource) and self._source.rewind()):
            self._source.close()
            self._source = self._open()

    def _read(self) -> Frame | None:
        """Read from the file, which may leave out frames that this video need not deliver."""
        if (wanted := self.wanted) is not None:
            self._source.wanted = lambda pts_s: wanted(self._offset_s + pts_s)
        if (announce := self.announce) is not None:
            self._source.announce = lambda pts_s, key: announce(self._offset_s + pts_s, key)
        return self._source.read()

    def _release(self) -> None:
        self._source.close()


class CrowdedVideo(LoopedVideo):
    """Replaces each frame by a grid with `faces` copies of its largest face."""

    def __init__(
        self, spec: str, clock: Any, start_s: float = 0.0, *, faces: int, detector: Detector
    ) -> None:
        super().__init__(spec, clock, start_s)
        self._faces, self._detector = faces, detector
        self._box: Box | None = None

    def _read(self) -> Frame | None:
        return self._source.read()  # all frames are needed

    def _next(self) -> Frame | None:
        frame = super()._next()
        if frame is None:
            return None
        found = self._detector.detect(frame.bgr)
        self._box = max((face.box for face in found), key=lambda box: box.area, default=self._box)
        if self._box is None:
            raise SourceError(f"{self.name}: no face in the first frame; --faces requires one")
        return frame.with_picture(tile_face(frame.bgr, self._box, self._faces))


def tile_face(bgr: Image, box: Box, faces: int) -> Image:
    """A picture of the same size with `faces` copies of one face in rows and columns."""
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
