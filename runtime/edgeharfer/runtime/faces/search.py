"""Where to look for faces: the whole frame, tiles of it for small faces, and around those that got lost.

The detector sees 192x192 pixels. Measured on webcam faces pasted into 640x480 scenes, it finds 29 % of
the faces that are 4 % of the frame's width, 90 % at 8 % and all from 15 % on. So nine half-size tiles,
which overlap by half, are looked through in turn, one every few frames: a face of 4 % fills 8 % of a
tile. A face once known is followed by a close look where it was, whenever the whole frame misses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle

from edgeharfer.runtime.faces.blazeface import merge, same_face
from edgeharfer.runtime.faces.detector import Detector, Region
from edgeharfer.runtime.types import Box, Face, Frame

NEW_FACE_SCORE = 0.6
"""From here on a face is believed without having been seen before (MediaPipe's own limit)."""
KNOWN_FACE_SCORE = 0.4
"""Enough for a face that stood there a moment ago. The detector must report from here up."""
TILE_EVERY = 4
"""Frames from one tile to the next; all nine within 36 frames, 1.2 s at 30 a second."""
CLOSE_LOOK = 5.0
"""Side of the region searched for a lost face, in sides of its box."""
MOST_CLOSE_LOOKS = 4
MIN_TILE_PX = 160
"""A smaller tile would only be blown up and show nothing more."""


def tiles(width: int, height: int, parts: int) -> list[Region]:
    """Regions of 1/parts of the frame's size that overlap by half, row by row; none if too small."""
    if min(width, height) / parts < MIN_TILE_PX:
        return []
    w, h = width / parts, height / parts
    steps = range(2 * parts - 1)
    return [(column * w / 2, row * h / 2, w, h) for row in steps for column in steps]


class FaceFinder:
    """Finds the faces of one frame after the other."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self.reset()

    def reset(self) -> None:
        """Start anew, for another source."""
        self._size = (0, 0)
        self._frames = 0
        self._tiles: Iterator[Region] = iter(())

    def find(self, frame: Frame, known: Sequence[Box] = ()) -> list[Face]:
        """Faces of the frame, best first. known: boxes in which a face was seen a moment ago."""
        found = self._detector.detect(frame.bgr)
        if frame.still:
            return self._search_still(frame, found)
        found += self._look_through_tile(frame)
        faces = [face for face in merge(found) if self._believable(face, known)]
        lost = [box for box in known if not any(same_face(box, face.box) for face in faces)]
        for box in lost[:MOST_CLOSE_LOOKS]:
            near = self._detector.detect(frame.bgr, close_region(box))
            faces += [face for face in near if self._believable(face, [box])]
        return merge(faces)

    def _search_still(self, frame: Frame, found: list[Face]) -> list[Face]:
        """A photograph is looked through once, so thoroughly: in halves and in thirds."""
        height, width = frame.bgr.shape[:2]
        for region in tiles(width, height, 2) + tiles(width, height, 3):
            found += self._detector.detect(frame.bgr, region)
        return [face for face in merge(found) if face.score >= NEW_FACE_SCORE]

    def _look_through_tile(self, frame: Frame) -> list[Face]:
        height, width = frame.bgr.shape[:2]
        if (width, height) != self._size:
            self._size = (width, height)
            self._tiles = cycle(tiles(width, height, 2))
        self._frames += 1
        region = next(self._tiles, None) if self._frames % TILE_EVERY == 0 else None
        return [] if region is None else self._detector.detect(frame.bgr, region)

    @staticmethod
    def _believable(face: Face, known: Sequence[Box]) -> bool:
        if face.score >= NEW_FACE_SCORE:
            return True
        return face.score >= KNOWN_FACE_SCORE and any(same_face(face.box, box) for box in known)


def close_region(box: Box) -> Region:
    """A square around a box, wide enough for a face that moved on."""
    side = CLOSE_LOOK * max(box.width, box.height)
    x, y = box.center
    return x - side / 2, y - side / 2, side, side
