"""Short-lived numbers for faces that stay in view. No identity, no features: only where a face was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeharfer.runtime.types import Box, Face

MAX_UNSEEN_S = 0.8
"""A face not seen for this long is gone; the next one there gets a new number."""
MAX_MISSES = 1
"""A face is kept through so many looks that miss it, however far apart the looks are."""
MAX_TRACK_GAP_S = 10.0
"""With more time between two looks nobody can tell whether it is the same face."""
BOX_TIME_CONSTANT_S = 0.06
MAX_DISTANCE = 1.0
"""Farthest move between two looks, in sides of the box, at which it is still the same face."""
MAX_SPEED = 2.0
"""The same in sides a second, for looks that are more than half a second apart: a quick walk past."""
MAX_TOTAL_DISTANCE = 4.0
"""No longer interval allows a move of more sides than this."""
MAX_SIZE_RATIO = 2.0
"""Between two looks, of the larger to the smaller box."""
MAX_GROWTH, MAX_TOTAL_RATIO = 1.0, 3.0
"""Beyond a second the ratio grows by so much a second, up to this: a walk towards the camera."""
STILL_SPEED = 0.5
"""Sides of the box a second; up to that a face keeps still. What the detector trembles is 0.1 to 0.2."""
MAX_EXTRAPOLATION_S = 0.2
"""For so long after a look a face is taken to move on as it did; after that it may have turned back."""
NEW_TRACK_S = 0.5
"""For so long a face is new, and never calm: its emotion is settling."""
VELOCITY_WEIGHT = 0.5
"""Of a new look in the speed of a face; the rest is what was known before."""


@dataclass(slots=True, eq=False)
class Track:
    """One face in view. box: steadied over time; face: as last detected; seen_s: when; since_s: first seen.

    velocity: of the box, pixels a second, right and down. misses: looks since then that did not find it.
    """

    number: int
    box: Box
    face: Face
    seen_s: float
    since_s: float
    velocity: tuple[float, float] = (0.0, 0.0)
    misses: int = 0

    def alive(self, now_s: float) -> bool:
        """Whether a face found now can be this one: not too long unseen, and not too many looks."""
        unseen_s = now_s - self.seen_s
        return 0 <= unseen_s <= (MAX_TRACK_GAP_S if self.misses <= MAX_MISSES else MAX_UNSEEN_S)

    def offset_at(self, now_s: float) -> tuple[float, float]:
        """How far it will have moved since it was seen, pixels right and down."""
        elapsed = min(now_s - self.seen_s, MAX_EXTRAPOLATION_S)
        return self.velocity[0] * elapsed, self.velocity[1] * elapsed

    @property
    def is_still(self) -> bool:
        """It has been here for a while and hardly moves."""
        if self.seen_s - self.since_s < NEW_TRACK_S:
            return False
        return math.hypot(*self.velocity) <= STILL_SPEED * max(self.box.width, self.box.height)


class Tracker:
    """Pairs the faces of each frame with those of the frames before."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._next = 1

    @property
    def known_boxes(self) -> list[Box]:
        """Where faces were seen of late, for the finder."""
        return [track.face.box for track in self._tracks]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the faces in view, or out of it for a moment."""
        return [track.number for track in self._tracks]

    def reset(self) -> None:
        """Forget all faces in view; numbers go on, so that no two people share one."""
        self._tracks = []

    def update(self, faces: Sequence[Face], now_s: float) -> list[Track]:
        """The tracks seen in this frame, in the order of `faces`."""
        free = [track for track in self._tracks if track.alive(now_s)]
        pairs = sorted(
            (
                (distance(track.face.box, face.box, max_size_ratio(now_s - track.seen_s)), i, track)
                for i, face in enumerate(faces)
                for track in free
            ),
            key=lambda pair: pair[0],
        )
        matched: dict[int, Track] = {}
        for gap, i, track in pairs:
            if gap <= max_distance(now_s - track.seen_s) and i not in matched and track in free:
                matched[i] = track
                free.remove(track)
        seen = [self._take(matched.get(i), face, now_s) for i, face in enumerate(faces)]
        for track in free:
            track.misses += 1
        self._tracks = sorted(
            (*seen, *(track for track in free if track.alive(now_s))), key=lambda track: track.number
        )
        return seen

    def _take(self, track: Track | None, face: Face, now_s: float) -> Track:
        if track is None:
            track = Track(self._next, face.box, face, now_s, now_s)
            self._next += 1
        else:
            elapsed = now_s - track.seen_s
            track.velocity = velocity(track, face.box, elapsed)
            track.box = smooth_box(track.box, face.box, elapsed)
            track.face, track.seen_s, track.misses = face, now_s, 0
        return track


def max_distance(elapsed_s: float) -> float:
    """How far a face can have moved in that time, in sides of its box."""
    return max(MAX_DISTANCE, min(MAX_SPEED * elapsed_s, MAX_TOTAL_DISTANCE))


def max_size_ratio(elapsed_s: float) -> float:
    """How unlike in size the two boxes of one face can be after that time."""
    return max(MAX_SIZE_RATIO, min(1 + MAX_GROWTH * elapsed_s, MAX_TOTAL_RATIO))


def distance(a: Box, b: Box, most: float = MAX_SIZE_RATIO) -> float:
    """Distance of the centres in sides of the larger box; infinite where one is `most` times as large."""
    sides = max(a.width, a.height), max(b.width, b.height)
    small, large = min(sides), max(sides)
    if small <= 0 or large / small > most:
        return math.inf
    (ax, ay), (bx, by) = a.center, b.center
    return math.hypot(ax - bx, ay - by) / large


def velocity(track: Track, new: Box, elapsed_s: float) -> tuple[float, float]:
    """Pixels a second from the last look to this one, evened out; standing still where no time has passed."""
    if elapsed_s <= 0:
        return 0.0, 0.0
    (ax, ay), (bx, by) = track.face.box.center, new.center
    now = (bx - ax) / elapsed_s, (by - ay) / elapsed_s
    x, y = (old + VELOCITY_WEIGHT * (seen - old) for old, seen in zip(track.velocity, now, strict=True))
    return x, y


def smooth_box(old: Box, new: Box, elapsed_s: float) -> Box:
    """Move a shown box towards the detected one, so that it does not tremble."""
    share = 1 - math.exp(-elapsed_s / BOX_TIME_CONSTANT_S)
    mean = [a + share * (b - a) for a, b in zip(_values(old), _values(new), strict=True)]
    return Box(*mean)


def _values(box: Box) -> tuple[float, float, float, float]:
    return box.x, box.y, box.width, box.height
