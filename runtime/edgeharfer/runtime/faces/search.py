"""Where to look for faces: the whole frame, tiles of it for small faces, and around those that got lost.

The detector sees 192x192 pixels. Of webcam faces pasted into noisy 640x480 scenes a look at the whole
frame finds 7 % where they are 3 % of its width, 18 % at 4 %, 62 % at 6 %. So three more looks are taken:
- square tiles in turn, one with every other look. At equal cost six of them find more of the faces of
  4 % than nine half-size tiles that overlap by half;
- at once, where something is hardly a face: that finds most faces of 4 % before their tile's turn;
- where a known face was, whenever the other looks miss it. It holds those of 4 % in 99 % of the frames.

One or two faces that are known are followed by close looks of their own instead, at half the pixels a
side: on webcam clips that finds them in every frame, with eyes placed a third more exactly than a look at
the whole frame does, at 0.4 of its cost. Between them the frame and its tiles have their turn every
WIDE_EVERY looks, so a second face is seen so much later. A photograph is looked through in all tiles at
once, large and small, which finds all faces of 3 % as well, unless its detector sees those without.

Where the detector has a second opinion, a new face of a video counts once that one finds it as well, in a
close look. Of 1166 faces that BlazeFace found in films, YuNet refused 60: wrists, clocks, trees, balls and
flags, and about 15 heads that were turned away, blurred or behind hands. Those refused are asked about again
with every look.
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
"""From here on a face is believed without having been seen before (MediaPipe's own limit)."""
LARGE_TILES, SMALL_TILES = (7 / 16, 1 / 8), (5 / 16, 5 / 64)
"""Side of the tiles and least overlap, as shares of the frame's longer side: 6 and 12 tiles at 4:3 and 16:9.

A face as wide as the overlap lies whole in one of them; larger ones the whole frame shows well enough."""
TILE_INTERVAL = 2
"""Looks from one tile to the next; all six within twelve looks, 1.2 s at ten a second."""
MAX_FOLLOWED = 2
"""More faces cost more one by one than a look at the whole frame."""
FOLLOW_REGION_SIDES = 2.5
"""Side of the region in which a face is followed, in sides of its box: it may move by 0.75 of them."""
WIDE_INTERVAL = 2
"""While faces are followed: looks from the whole frame to a tile and from there to the frame again."""
CLOSE_REGION_SIDES = 5.0
"""Side of the region searched for a lost or doubtful face, in sides of its box."""
MAX_CLOSE_REGIONS = 4
SECOND_OPINION_REGION_SIDES = 4.0
"""Side of the region that the second opinion sees, in sides of the new face's box.

With head and shoulders in view YuNet confirms more faces in profile than with 2.5 sides (faces far off, in 19
clips at home: 36 against 30 % of the looks), and none in 18 clips that show nobody, where 2.5 let 4 pass."""
MAX_SECOND_OPINIONS = 4
"""In one look; further new faces wait for the next one."""
MIN_TILE_PX = 160
"""A smaller tile would only be blown up and show nothing more."""


def tiles(width: int, height: int, share: float, overlap: float) -> list[Region]:
    """Squares of a share of the longer side, spread evenly, row by row; none if they were too small."""
    longer = max(width, height)
    side = share * longer
    if side < MIN_TILE_PX:
        return []
    lefts, tops = (tile_starts(length, side, overlap * longer) for length in (width, height))
    return [(left, top, side, side) for top in tops for left in lefts]


def tile_starts(length: float, side: float, overlap: float) -> list[float]:
    """Where tiles start along one axis, so that they cover it and overlap by at least so much."""
    if length <= side:
        return [(length - side) / 2]
    steps = math.ceil((length - side) / (side - overlap))
    return [(length - side) * step / steps for step in range(steps + 1)]


class FaceFinder:
    """Finds the faces of one frame after the other.

    follow: whether known faces are followed by close looks; else each look is at the whole frame.
    """

    def __init__(self, detector: Detector, *, follow: bool = True) -> None:
        self._detector, self._follow = detector, follow
        self.reset()

    def reset(self) -> None:
        """Start anew, for another source."""
        self._size = (0, 0)
        self._looks = 0
        self._tiles: Iterator[Region] = iter(())
        self._refused: list[Box] = []

    def find(self, frame: Frame, known: Sequence[Box] = ()) -> list[Face]:
        """Faces of the frame, best first. known: boxes in which a face was seen a moment ago."""
        detector = self._detector.for_photographs if frame.still else self._detector
        followed = self._followed(frame, known)
        held = bool(followed) and not not_among(known, followed)
        found: list[Face] = []
        for region in self._regions(frame, held, tiled=detector.needs_tiles):
            found += detector.detect(frame.bgr, region)
        faces, doubtful = split_credible(found, known)
        # Where both saw a face, the closer look placed it better, whatever its score.
        faces = followed + not_among(faces, followed)
        second_looks = not_among(doubtful, followed)[: MAX_CLOSE_REGIONS if frame.still else 1]
        lost = not_among(known, faces)[:MAX_CLOSE_REGIONS]
        for box in (*lost, *(face.box for face in second_looks)):
            faces += split_credible(
                detector.detect(frame.bgr, square_region(box, CLOSE_REGION_SIDES)), known
            )[0]
        faces = suppress_overlaps(faces)
        opinion = self._detector.second_opinion
        if opinion is None or frame.still:
            return faces
        doubted = self._doubted(frame, new_faces(faces, known), opinion)
        return [face for face in faces if face not in doubted]

    def _doubted(self, frame: Frame, new: Sequence[Face], opinion: Detector) -> list[Face]:
        """New faces that the second opinion does not find, or had no time for.

        Those refused in the last look are asked about last, so that they do not keep others waiting.
        """
        turn = sorted(new, key=lambda face: any(same_face(face.box, box) for box in self._refused))
        refused = [face for face in turn[:MAX_SECOND_OPINIONS] if not is_confirmed(frame, face, opinion)]
        self._refused = [face.box for face in refused]
        return [*refused, *turn[MAX_SECOND_OPINIONS:]]

    def _followed(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        """Known faces where they have moved to, if they are few."""
        if not self._follow or frame.still or len(known) > MAX_FOLLOWED:
            return []
        found: list[Face] = []
        for box in known:
            found += self._detector.detect(frame.bgr, square_region(box, FOLLOW_REGION_SIDES), close_up=True)
        return split_credible(found, known)[0]

    def _regions(self, frame: Frame, held: bool, *, tiled: bool) -> list[Region | None]:
        """Where to look for new faces; None is the whole frame. A photograph is looked through thoroughly.

        held: all known faces were found already. tiled: a photograph needs more than a look at the whole.
        """
        height, width = frame.bgr.shape[:2]
        if frame.still and not tiled:
            return [None]
        if frame.still:
            return [None, *tiles(width, height, *LARGE_TILES), *tiles(width, height, *SMALL_TILES)]
        if (width, height) != self._size:
            self._size = (width, height)
            self._tiles = cycle(tiles(width, height, *LARGE_TILES))
        self._looks += 1
        if not held:
            return [None, *(islice(self._tiles, 1) if self._looks % TILE_INTERVAL == 0 else ())]
        turn, rest = divmod(self._looks, WIDE_INTERVAL)
        if rest:
            return []
        return [next(self._tiles, None) if turn % 2 else None]


def is_confirmed(frame: Frame, face: Face, opinion: Detector) -> bool:
    """Whether another detector would believe this face as well."""
    found = opinion.detect(frame.bgr, square_region(face.box, SECOND_OPINION_REGION_SIDES), close_up=True)
    return any(same_face(face.box, other.box) for other in found if other.score >= NEW_FACE_SCORE)


def new_faces(faces: Sequence[Face], known: Sequence[Box]) -> list[Face]:
    """The faces, in their order, that are none of the known ones: each box excuses the one nearest to it."""
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
    """Boxes or faces that are not among the faces found."""
    return [one for one in wanted if not any(same_face(box_of(one), face.box) for face in found)]


def box_of(one: Box | Face) -> Box:
    """The box itself, or that of a face."""
    return one.box if isinstance(one, Face) else one


def split_credible(faces: Sequence[Face], known: Sequence[Box]) -> tuple[list[Face], list[Face]]:
    """The faces, each once, that can be believed, and those that cannot yet; each best first."""
    merged = suppress_overlaps(faces)
    sure = [face for face in merged if is_credible(face, known)]
    return sure, [face for face in merged if face not in sure]


def is_credible(face: Face, known: Sequence[Box]) -> bool:
    """Clearly a face, or one where a face stood a moment ago."""
    if face.score >= NEW_FACE_SCORE:
        return True
    return face.score >= KNOWN_FACE_SCORE and any(same_face(face.box, box) for box in known)
