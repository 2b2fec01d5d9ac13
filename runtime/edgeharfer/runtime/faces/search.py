"""Choose where to run the face detector: the whole frame, tiles for small faces, and around lost faces.

The detector input is 192x192 pixels. Of webcam faces pasted into noisy 640x480 scenes, one pass over the
whole frame finds 7 % at 3 % of the frame's width, 18 % at 4 % and 62 % at 6 %. Therefore further regions are
searched:
- one square tile in every other pass, in turn. At equal cost, six tiles find more faces of 4 % than nine
  half-size tiles that overlap by half;
- the surroundings of a doubtful face, which finds most faces of 4 % before the turn of their tile;
- the surroundings of a known face that was missed. This keeps faces of 4 % in 99 % of the frames.

One or two known faces are followed instead: each pass only searches a close region around each, at half the
pixels per side. On webcam clips this finds them in every frame, with eye positions a third more precise than
in a pass over the whole frame, at 0.4 of its cost. In between, every WIDE_INTERVAL passes search the whole
frame or a tile, so a second face is detected with that delay. Photographs are searched in all large and small
tiles, which also finds all faces of 3 %, unless the detector finds those without tiles.

If the detector has a second opinion, a new face of a video counts only if that detector finds it too, in a
close region. Of 1166 faces that BlazeFace found in films, YuNet rejected 60: wrists, clocks, trees, balls and
flags, and about 15 heads that were turned away, blurred or behind hands. Rejected faces are checked again in
each pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import TypeVar

from edgeharfer.runtime.faces.detector import KNOWN_FACE_SCORE, Detector, Region, square_region
from edgeharfer.runtime.faces.overlap import same_face, suppress_overlaps
from edgeharfer.runtime.faces.tracks import MAX_DISTANCE, distance
from edgeharfer.runtime.types import Box, Face, Frame

NEW_FACE_SCORE = 0.6
"""Score from which a face is accepted without a known face nearby (MediaPipe's default)."""
LARGE_TILES, SMALL_TILES = (7 / 16, 1 / 8), (5 / 16, 5 / 64)
"""Side and minimum overlap of tiles, as fractions of the frame's longer side: 6 and 12 tiles at 4:3 and 16:9.

A face as wide as the overlap is contained in one tile; larger ones are large enough for the whole frame.
"""
TILE_INTERVAL = 2
"""Passes from one tile to the next; all six are searched within twelve passes, 1.2 s at 10 Hz."""
MAX_FOLLOWED = 2
"""Following more faces costs more than a pass over the whole frame."""
FOLLOW_REGION_SIDES = 2.5
"""Side of the region in which a face is followed, in sides of its box; the face may move by 0.75 sides."""
WIDE_INTERVAL = 3
"""Passes between searches of the whole frame and a tile, alternately, while faces are followed."""
CLOSE_REGION_SIDES = 5.0
"""Side of the region searched for a lost or doubtful face, in sides of its box."""
MAX_CLOSE_REGIONS = 4
"""Limit for the lost faces searched in one pass, and for the doubtful faces of a photograph."""
SECOND_OPINION_REGION_SIDES = 4.0
"""Side of the region that the second opinion searches, in sides of the new face's box.

With head and shoulders visible, YuNet confirms more faces in profile than with 2.5 sides (distant faces in 19
clips recorded at home: 36 % instead of 30 % of the passes) and none in 18 clips without people, where 2.5
sides accepted 4.
"""
MAX_SECOND_OPINIONS = 4
"""Limit for one pass; further new faces wait for the next one."""
MIN_TILE_PX = 160
"""Smaller tiles would only be enlarged and show no more detail."""


def tiles(width: int, height: int, share: float, overlap: float) -> list[Region]:
    """Return square tiles that cover the frame evenly, row by row.

    Args:
        width: Width of the frame in pixels.
        height: Height of the frame in pixels.
        share: Side of a tile, as a fraction of the frame's longer side.
        overlap: Minimum overlap of neighbours, as the same fraction.

    Returns:
        The tiles; none if they were smaller than MIN_TILE_PX.
    """
    longer = max(width, height)
    side = share * longer
    if side < MIN_TILE_PX:
        return []
    lefts, tops = (tile_starts(length, side, overlap * longer) for length in (width, height))
    return [(left, top, side, side) for top in tops for left in lefts]


def tile_starts(length: float, side: float, overlap: float) -> list[float]:
    """Return where tiles start along one axis, so that they cover it with at least this overlap (pixels)."""
    if length <= side:
        return [(length - side) / 2]
    steps = math.ceil((length - side) / (side - overlap))
    return [(length - side) * step / steps for step in range(steps + 1)]


class FaceFinder:
    """Find the faces of a sequence of frames.

    Args:
        detector: The detector to run.
        follow: Follow one or two known faces in close regions; else every pass searches the whole frame.
    """

    def __init__(self, detector: Detector, *, follow: bool = True) -> None:
        self._detector, self._follow = detector, follow
        self.reset()

    def reset(self) -> None:
        """Reset the state for another source."""
        self._size = (0, 0)
        self._passes = 0
        self._tiles: Iterator[Region] = iter(())
        self._rejected: list[Box] = []

    def find(self, frame: Frame, known: Sequence[Box] = ()) -> list[Face]:
        """Find the faces of a frame.

        Args:
            frame: The frame.
            known: Boxes of faces in the previous passes.

        Returns:
            The faces, best first.
        """
        detector = self._detector.for_photographs if frame.still else self._detector
        followed = self._follow_known(frame, known)
        all_followed = bool(followed) and not not_among(known, followed)
        found: list[Face] = []
        for region in self._regions(frame, all_followed, tiled=detector.needs_tiles):
            found += detector.detect(frame.bgr, region)
        faces, doubtful = split_credible(found, known)
        # If both found a face, the close region gives the better position, whatever the score.
        faces = followed + not_among(faces, followed)
        doubtful_faces = not_among(doubtful, followed)[: MAX_CLOSE_REGIONS if frame.still else 1]
        lost = not_among(known, faces)[:MAX_CLOSE_REGIONS]
        for box in (*lost, *(face.box for face in doubtful_faces)):
            faces += split_credible(
                detector.detect(frame.bgr, square_region(box, CLOSE_REGION_SIDES)), known
            )[0]
        faces = suppress_overlaps(faces)
        opinion = self._detector.second_opinion
        if opinion is None or frame.still:
            return faces
        unconfirmed = self._unconfirmed(frame, new_faces(faces, known), opinion)
        return [face for face in faces if face not in unconfirmed]

    def _unconfirmed(self, frame: Frame, new: Sequence[Face], opinion: Detector) -> list[Face]:
        """Return the new faces that the second opinion rejects or has not checked in this pass.

        Faces that were rejected in the last pass are checked last, so that they do not delay others.
        """
        turn = sorted(new, key=lambda face: any(same_face(face.box, box) for box in self._rejected))
        rejected = [face for face in turn[:MAX_SECOND_OPINIONS] if not is_confirmed(frame, face, opinion)]
        self._rejected = [face.box for face in rejected]
        return [*rejected, *turn[MAX_SECOND_OPINIONS:]]

    def _follow_known(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        """Search around the known faces if there are only a few."""
        if not self._follow or frame.still or len(known) > MAX_FOLLOWED:
            return []
        found: list[Face] = []
        for box in known:
            found += self._detector.detect(frame.bgr, square_region(box, FOLLOW_REGION_SIDES), close_up=True)
        return split_credible(found, known)[0]

    def _regions(self, frame: Frame, all_followed: bool, *, tiled: bool) -> list[Region | None]:
        """Choose the regions to search for new faces; None is the whole frame.

        Args:
            frame: The frame. All tiles of a photograph are searched.
            all_followed: All known faces were found already.
            tiled: A photograph needs tiles.
        """
        width, height = frame.size
        if frame.still and not tiled:
            return [None]
        if frame.still:
            return [None, *tiles(width, height, *LARGE_TILES), *tiles(width, height, *SMALL_TILES)]
        if (width, height) != self._size:
            self._size = (width, height)
            self._tiles = cycle(tiles(width, height, *LARGE_TILES))
        self._passes += 1
        if not all_followed:
            return [None, *(islice(self._tiles, 1) if self._passes % TILE_INTERVAL == 0 else ())]
        turn, rest = divmod(self._passes, WIDE_INTERVAL)
        if rest:
            return []
        return [next(self._tiles, None) if turn % 2 else None]


def is_confirmed(frame: Frame, face: Face, opinion: Detector) -> bool:
    """Whether another detector accepts this face too."""
    found = opinion.detect(frame.bgr, square_region(face.box, SECOND_OPINION_REGION_SIDES), close_up=True)
    return any(same_face(face.box, other.box) for other in found if other.score >= NEW_FACE_SCORE)


def new_faces(faces: Sequence[Face], known: Sequence[Box]) -> list[Face]:
    """Return the faces that are not known, in their order. Each known box matches the nearest face."""
    pairs = sorted(
        ((distance(box, face.box), i, n) for i, face in enumerate(faces) for n, box in enumerate(known)),
        key=lambda pair: pair[0],
    )
    old: set[int] = set()
    free = set(range(len(known)))
    for gap, i, n in pairs:
        if gap <= MAX_DISTANCE and i not in old and n in free:
            old.add(i)
            free.remove(n)
    return [face for i, face in enumerate(faces) if i not in old]


BoxOrFace = TypeVar("BoxOrFace", Box, Face)


def not_among(wanted: Sequence[BoxOrFace], found: Sequence[Face]) -> list[BoxOrFace]:
    """Return the boxes or faces that do not match any of the faces found."""
    return [one for one in wanted if not any(same_face(box_of(one), face.box) for face in found)]


def box_of(one: Box | Face) -> Box:
    """Return the box of a face, or the box itself."""
    return one.box if isinstance(one, Face) else one


def split_credible(faces: Sequence[Face], known: Sequence[Box]) -> tuple[list[Face], list[Face]]:
    """Merge overlapping faces and split them into accepted and doubtful ones, each best first."""
    merged = suppress_overlaps(faces)
    sure = [face for face in merged if is_credible(face, known)]
    return sure, [face for face in merged if face not in sure]


def is_credible(face: Face, known: Sequence[Box]) -> bool:
    """Whether the score is high enough, for a new face or for one close to a known face."""
    if face.score >= NEW_FACE_SCORE:
        return True
    return face.score >= KNOWN_FACE_SCORE and any(same_face(face.box, box) for box in known)
