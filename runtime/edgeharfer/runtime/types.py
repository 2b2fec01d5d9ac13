"""What the stages hand to each other: frames in, results out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

KEYPOINTS = ("right_eye", "left_eye", "nose", "mouth", "right_ear", "left_ear")
"""The points of a face in BlazeFace's order: eyes, tip of the nose, centre of the mouth, ears (tragions).

Right and left are the person's own, so the right eye stands on the left of the picture."""

ReadingStyle = Literal["line", "bar", "tag"]

PROBABILITY_STEPS = 10_000  # four decimals
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

    def moved(self, right: float, down: float) -> Box:
        """The same box elsewhere."""
        return Box(self.x + right, self.y + down, self.width, self.height)

    def scaled(self, factor: float) -> Box:
        """The same box in a picture that is so many times larger."""
        return Box(self.x * factor, self.y * factor, self.width * factor, self.height * factor)

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
    file: path of the image file that it was read from; "" for every other source.
    """

    seq: int
    pts_s: float
    captured_s: float
    bgr: Image
    still: bool = False
    file: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A detected face.

    keypoints: float32, (6, 2), pixels of the source frame, in the order of KEYPOINTS. A point that the
    detector does not report is NaN: YuNet reports no ears.
    """

    box: Box
    score: float
    keypoints: Floats

    def moved(self, right: float, down: float) -> Face:
        """The same face elsewhere."""
        points = self.keypoints + np.array((right, down), np.float32)
        return Face(self.box.moved(right, down), self.score, points)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a task says of a face or of the scene: classes, numbers, or both.

    Attributes:
        label: The class; None where the task has none to give.
        probs: Probability of each class, by label.
        values: Numbers by name, such as angles in degrees.

    Class attributes, for readings that show in another way:
        shown: In the overlay: "line" is a line of text. For the scene "bar" is the bar at the bottom; for a
            face "tag" is the label on its box, with the likeliest classes beside it.
    """

    label: str | None = None
    probs: Mapping[str, float] | None = None
    values: Mapping[str, float] | None = None
    shown: ClassVar[ReadingStyle] = "line"

    @property
    def score(self) -> float | None:
        """The label's probability, or the highest one where no class has that label; None without `probs`."""
        if not self.probs:
            return None
        known = self.probs.get(self.label) if self.label is not None else None
        return float(max(self.probs.values()) if known is None else known)

    @property
    def ready(self) -> bool:
        """Whether enough was seen for a label; false while a window fills."""
        return True

    def to_dict(self) -> dict[str, Any]:
        """What the JSON line says of it."""
        found: dict[str, Any] = {}
        if self.label is not None:
            found["label"] = self.label
        if self.score is not None:
            found["score"] = round(float(self.score), 4)
        if self.probs is not None:
            found["probs"] = round_probabilities(self.probs)
        if self.values is not None:
            found["values"] = {name: _number(value) for name, value in self.values.items()}
        return found


@dataclass(frozen=True, slots=True, init=False)
class Emotion(Reading):
    """How one face looks: `label` is "uncertain" below the threshold, `probs` sums to 1."""

    shown: ClassVar[ReadingStyle] = "tag"

    label: str
    probs: Mapping[str, float]
    score: float = field(kw_only=True)

    def __init__(self, label: str, score: float, probs: Mapping[str, float]) -> None:
        Reading.__init__(self, label, probs)
        object.__setattr__(self, "score", score)


@dataclass(frozen=True, slots=True, init=False)
class Action(Reading):
    """What goes on in the last window of time.

    ready: the window is full; until then, and below the threshold, `label` is "uncertain".
    """

    shown: ClassVar[ReadingStyle] = "bar"

    label: str
    probs: Mapping[str, float]
    score: float = field(kw_only=True)
    ready: bool = field(kw_only=True)

    def __init__(
        self, label: str, score: float, ready: bool, probs: Mapping[str, float] | None = None
    ) -> None:
        Reading.__init__(self, label, probs or {})
        object.__setattr__(self, "score", score)
        object.__setattr__(self, "ready", ready)

    def to_dict(self) -> dict[str, Any]:
        """What the JSON line says of it."""
        label = self.label if self.ready else UNCERTAIN
        return {"label": label, "score": round(float(self.score), 4), "ready": self.ready}


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """A face with the short-lived number that it keeps while it stays in view.

    Attributes:
        track: The number.
        box: Steadied over time, in pixels of the source frame.
        score: The detector's.
        readings: What each task says of the face, by the task's name; tasks that have said nothing yet are
            absent.
        last: The face as the detector last saw it; None in results that were made by hand.
        offset: How far it has moved on since then, pixels right and down.
        seen_s: Source time of the frame in which the detector last saw it.
    """

    track: int
    box: Box
    score: float
    readings: Mapping[str, Reading] = field(default_factory=dict)
    last: Face | None = field(default=None, compare=False, repr=False)
    offset: tuple[float, float] = field(default=(0.0, 0.0), compare=False, repr=False)
    seen_s: float = field(default=0.0, compare=False, repr=False)

    @property
    def emotion(self) -> Emotion | None:
        """The task's reading; None until the face was read for the first time, and where emotions are off."""
        reading = self.readings.get("emotion")
        return reading if isinstance(reading, Emotion) else None

    @property
    def detected(self) -> Face | None:
        """The face as the detector last saw it, moved on to this frame."""
        return None if self.last is None else self.last.moved(*self.offset)

    @property
    def keypoints(self) -> Floats | None:
        """As `Face.keypoints`, moved on to this frame."""
        face = self.detected
        return None if face is None else face.keypoints


def round_probabilities(probs: Mapping[str, float]) -> dict[str, float]:
    """Four decimals each, with the same sum as before: the largest remainders are rounded up.

    Rounding each by itself would let the sum drift with the number of labels.
    """
    exact = {label: max(0.0, float(p)) * PROBABILITY_STEPS for label, p in probs.items()}
    steps = {label: int(value) for label, value in exact.items()}
    missing = round(sum(exact.values())) - sum(steps.values())
    for label in sorted(exact, key=lambda name: steps[name] - exact[name])[:missing]:
        steps[label] += 1
    return {label: count / PROBABILITY_STEPS for label, count in steps.items()}


def _number(value: float) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def check_picture(picture: object) -> Image:
    """A picture from a user, checked: uint8 (height, width, 3) with at least one pixel.

    Raises:
        TypeError: It is no array of uint8.
        ValueError: It has another shape, or no pixels.
    """
    if not isinstance(picture, np.ndarray):
        kind = type(picture).__name__
        raise TypeError(
            f"a picture must be a NumPy array of uint8 (height, width, 3) in BGR order, not {kind}"
        )
    if picture.dtype != np.uint8:
        hint = ": from 0 to 1, convert it with (picture * 255).astype(numpy.uint8)"
        raise TypeError(
            f"a picture must hold uint8 from 0 to 255, not {picture.dtype}"
            + (hint if picture.dtype.kind == "f" else "")
        )
    if picture.ndim == 2:
        raise ValueError(
            f"a picture must have three channels, not the shape {picture.shape}: "
            "convert grey with cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)"
        )
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture must have the shape (height, width, 3), not {picture.shape}")
    if picture.size == 0:
        raise ValueError(f"the picture is empty: its shape is {picture.shape}")
    return np.ascontiguousarray(picture)
