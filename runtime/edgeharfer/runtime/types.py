"""What the stages hand to each other: frames in, results out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

KEYPOINTS = ("right_eye", "left_eye", "nose", "mouth", "right_ear", "left_ear")
"""The points of a face in BlazeFace's order: eyes, tip of the nose, centre of the mouth, ears (tragions).

Right and left are the person's own, so the right eye stands on the left of the picture."""

UNCERTAIN = "uncertain"
BACKGROUND = "background"
"""The label of action packages for "nothing of what the model knows"."""


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in pixels of the source frame; may reach over its edges."""

    x: float
    y: float
    width: float
    height: float

    @property
    def center(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def area(self) -> float:
        return max(0.0, self.width) * max(0.0, self.height)

    def iou(self, other: Box) -> float:
        """Intersection over union with another box, 0 to 1."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if width <= 0 or height <= 0:
            return 0.0
        overlap = width * height
        return overlap / (self.area + other.area - overlap)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source.

    seq: number of the picture in its source, from 0; dropped ones leave gaps.
    pts_s: its time in the source, in seconds since the first picture.
    captured_s: monotonic time at which the source handed it over.
    bgr: uint8, (height, width, 3), OpenCV's channel order. Nobody writes into it.
    still: a photograph, with no neighbours in time.
    """

    seq: int
    pts_s: float
    captured_s: float
    bgr: Image
    still: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A detected face.

    keypoints: float32, (6, 2), pixels of the source frame, in the order of KEYPOINTS. A point that the
    detector does not report is NaN: YuNet reports no ears.
    """

    box: Box
    score: float
    keypoints: Floats


@dataclass(frozen=True, slots=True)
class Emotion:
    """How one face looks: `label` is "uncertain" below the threshold, `probs` sums to 1."""

    label: str
    score: float
    probs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Action:
    """What goes on in the last window of time.

    ready: the window is full; until then, and below the threshold, `label` is "uncertain".
    """

    label: str
    score: float
    ready: bool
    probs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """A face with the short-lived number that it keeps while it stays in view.

    emotion: None until the face was read for the first time, and where emotions are off.
    """

    track: int
    box: Box
    score: float
    emotion: Emotion | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """All that is known of one frame.

    pts_s: source time of the frame in seconds. age_ms: how old the frame was when this was known.
    action: None where actions are off, and for a photograph.
    stages_ms: milliseconds spent in each stage that ran on this frame, and "total".
    cut: another scene begins with this frame, and nothing is carried over from the one before.
    """

    seq: int
    pts_s: float
    age_ms: float
    faces: tuple[TrackedFace, ...] = ()
    action: Action | None = None
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    cut: bool = False
