"""Track faces by position: temporary numbers for faces in view, without identity or appearance features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeharfer.runtime.types import Box, Face

MAX_UNSEEN_S = 0.8
"""A track ends after this time without a detection; the next face there gets a new number."""
MAX_MISSES = 1
"""A track survives this many detection passes that miss it, however far apart they are."""
MAX_TRACK_GAP_S = 10.0
"""Longest time between two passes after which a face can still be matched."""
BOX_TIME_CONSTANT_S = 0.06
"""Time constant of the exponential smoothing of the displayed box."""
MAX_DISTANCE = 1.0
"""Largest move between two passes, in sides of the box."""
MAX_SPEED = 2.0
"""Largest speed in sides per second, which applies beyond half a second: a person walking past quickly."""
MAX_TOTAL_DISTANCE = 4.0
"""Largest move for any interval, in sides of the box."""
MAX_SIZE_RATIO = 2.0
"""Largest ratio of the box sizes in two passes."""
MAX_GROWTH, MAX_TOTAL_RATIO = 1.0, 3.0
"""Growth of the largest ratio per second beyond one second, and its limit: a walk towards the camera."""
STILL_SPEED = 0.5
"""Largest speed of a still face, in sides of the box per second. Detector noise amounts to 0.1 to 0.2."""
MAX_EXTRAPOLATION_S = 0.2
"""A face is assumed to keep moving for this long after a pass; later it may have turned back."""
NEW_TRACK_S = 0.5
"""A track is new for this long and never counts as still, since its emotion has not settled."""
VELOCITY_WEIGHT = 0.5
"""Weight of the latest pass in the smoothed velocity."""


@dataclass(slots=True, eq=False)
class Track:
    """One face in view.

    Attributes:
        number: Number of the track.
        box: Smoothed box.
        face: Face as last detected.
        seen_s: Time of the last detection.
        since_s: Time of the first detection.
        velocity: Smoothed velocity, pixels per second to the right and down.
        misses: Detection passes since then that missed it.
    """

    number: int
    box: Box
    face: Face
    seen_s: float
    since_s: float
    velocity: tuple[float, float] = (0.0, 0.0)
    misses: int = 0

    def alive(self, now_s: float) -> bool:
        """Whether a face detected now can belong to this track."""
        unseen_s = now_s - self.seen_s
        return 0 <= unseen_s <= (MAX_TRACK_GAP_S if self.misses <= MAX_MISSES else MAX_UNSEEN_S)

    def offset_at(self, now_s: float) -> tuple[float, float]:
        """Return the expected move since the last detection, pixels to the right and down."""
        elapsed = min(now_s - self.seen_s, MAX_EXTRAPOLATION_S)
        return self.velocity[0] * elapsed, self.velocity[1] * elapsed

    @property
    def is_still(self) -> bool:
        """Whether the track is not new and hardly moves."""
        if self.seen_s - self.since_s < NEW_TRACK_S:
            return False
        return math.hypot(*self.velocity) <= STILL_SPEED * max(self.box.width, self.box.height)


class Tracker:
    """Match the faces of each frame with those of earlier frames."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._next = 1

    @property
    def known_boxes(self) -> list[Box]:
        """Boxes of the last detections of all tracks."""
        return [track.face.box for track in self._tracks]

    @property
    def numbers(self) -> list[int]:
        """Numbers of all tracks, including those that were just missed."""
        return [track.number for track in self._tracks]

    def reset(self) -> None:
        """End all tracks. Numbers continue, so two people never share one."""
        self._tracks = []

    def update(self, faces: Sequence[Face], now_s: float) -> list[Track]:
        """Match the faces of a frame, nearest first.

        Args:
            faces: Faces detected in the frame.
            now_s: Time of the frame.

        Returns:
            The track of each face, in the order of `faces`.
        """
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
        seen = [self._assign(matched.get(i), face, now_s) for i, face in enumerate(faces)]
        for track in free:
            track.misses += 1
        self._tracks = sorted(
            (*seen, *(track for track in free if track.alive(now_s))), key=lambda track: track.number
        )
        return seen

    def _assign(self, track: Track | None, face: Face, now_s: float) -> Track:
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
    """Return the largest possible move of a face in that time, in sides of its box."""
    return max(MAX_DISTANCE, min(MAX_SPEED * elapsed_s, MAX_TOTAL_DISTANCE))


def max_size_ratio(elapsed_s: float) -> float:
    """Return the largest possible size ratio of a face's boxes after that time."""
    return max(MAX_SIZE_RATIO, min(1 + MAX_GROWTH * elapsed_s, MAX_TOTAL_RATIO))


def distance(a: Box, b: Box, max_ratio: float = MAX_SIZE_RATIO) -> float:
    """Return the distance of two boxes' centres in sides of the larger box.

    Args:
        a: One box.
        b: The other box.
        max_ratio: Largest accepted ratio of their sides; the distance is infinite beyond it.
    """
    sides = max(a.width, a.height), max(b.width, b.height)
    small, large = min(sides), max(sides)
    if small <= 0 or large / small > max_ratio:
        return math.inf
    (ax, ay), (bx, by) = a.center, b.center
    return math.hypot(ax - bx, ay - by) / large


def velocity(track: Track, new: Box, elapsed_s: float) -> tuple[float, float]:
    """Return the smoothed velocity in pixels per second; zero if no time has passed."""
    if elapsed_s <= 0:
        return 0.0, 0.0
    (ax, ay), (bx, by) = track.face.box.center, new.center
    now = (bx - ax) / elapsed_s, (by - ay) / elapsed_s
    x, y = (old + VELOCITY_WEIGHT * (seen - old) for old, seen in zip(track.velocity, now, strict=True))
    return x, y


def smooth_box(old: Box, new: Box, elapsed_s: float) -> Box:
    """Smooth the displayed box exponentially towards the detected one, so that it does not jitter."""
    share = 1 - math.exp(-elapsed_s / BOX_TIME_CONSTANT_S)
    mean = [a + share * (b - a) for a, b in zip(_values(old), _values(new), strict=True)]
    return Box(*mean)


def _values(box: Box) -> tuple[float, float, float, float]:
    return box.x, box.y, box.width, box.height
