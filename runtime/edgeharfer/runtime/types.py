"""The immutable values that stages exchange: frames, boxes, faces and readings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.picture import BgrPicture, Picture
from edgeharfer.runtime.picture import Image as Image

Floats = NDArray[np.float32]

KEYPOINTS = ("right_eye", "left_eye", "nose", "mouth", "right_ear", "left_ear")
"""Facial key points in BlazeFace's order: eyes, tip of the nose, centre of the mouth, ears (tragions).

Right and left are the person's own: the right eye is on the left side of the picture."""

ReadingStyle = Literal["line", "bar", "tag", "skeleton"]

PROBABILITY_STEPS = 10_000
"""Probabilities are rounded to multiples of 1 / PROBABILITY_STEPS."""
UNCERTAIN = "uncertain"
"""Label given when no class reaches the threshold."""
BACKGROUND = "background"
"""Label of action packages for clips that show none of the other actions."""


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned rectangle in pixels of the source frame; it may extend beyond the frame.

    Attributes:
        x: Left edge.
        y: Top edge.
        width: Extent to the right.
        height: Extent downwards.
    """

    x: float
    y: float
    width: float
    height: float

    @property
    def center(self) -> tuple[float, float]:
        """The centre as (x, y)."""
        return self.x + self.width / 2, self.y + self.height / 2

    @property
    def area(self) -> float:
        """The area in square pixels; 0 for a degenerate box."""
        return max(0.0, self.width) * max(0.0, self.height)

    def rounded(self) -> list[int]:
        """Return the box in whole pixels, [x, y, width, height], as events and reports have it."""
        return [round(self.x), round(self.y), round(self.width), round(self.height)]

    def moved(self, right: float, down: float) -> Box:
        """Return the box shifted by pixels to the right and down."""
        return Box(self.x + right, self.y + down, self.width, self.height)

    def scaled(self, factor: float) -> Box:
        """Return the box for a picture that is `factor` times as large."""
        return Box(self.x * factor, self.y * factor, self.width * factor, self.height * factor)

    def iou(self, other: Box) -> float:
        """Return the intersection over union with another box, from 0 to 1."""
        width = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        height = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if width <= 0 or height <= 0:
            return 0.0
        overlap = width * height
        return overlap / (self.area + other.area - overlap)


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Frame:
    """One picture of a source. It is decoded once, and converted when `bgr`, `resized` or `sampled` is used.

    Attributes:
        seq: Sequence number in the source, from 0. Dropped frames leave gaps.
        pts_s: Presentation time in seconds since the first frame of the source.
        captured_s: Monotonic time in seconds at which the source delivered the frame.
        picture: The picture, or its pixels as an array, uint8, (height, width, 3), in BGR order.
        still: Whether this is a photograph, which has no preceding or following frame.
        file: Path of the image file that the frame was read from; "" for any other source.
    """

    seq: int
    pts_s: float
    captured_s: float
    picture: Picture
    still: bool = False
    file: str = ""

    def __init__(
        self,
        seq: int,
        pts_s: float,
        captured_s: float,
        picture: Picture | Image,
        still: bool = False,
        file: str = "",
    ) -> None:
        put = object.__setattr__
        put(self, "seq", seq)
        put(self, "pts_s", pts_s)
        put(self, "captured_s", captured_s)
        put(self, "picture", BgrPicture(picture) if isinstance(picture, np.ndarray) else picture)
        put(self, "still", still)
        put(self, "file", file)

    @property
    def bgr(self) -> Image:
        """The pixels, uint8, (height, width, 3), in BGR order, shared by all readers: copy before writing.

        Raises:
            ValueError: The frame was not decoded (see `decoded`).
        """
        return self.picture.bgr

    @property
    def decoded(self) -> bool:
        """Whether the frame has pixels. Only `Pipeline.run` and `edgeharfer run` skip frames."""
        return self.picture.decoded

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.picture.size

    def with_picture(self, picture: Picture | Image) -> Frame:
        """Return the frame with another picture."""
        return Frame(self.seq, self.pts_s, self.captured_s, picture, self.still, self.file)


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A detected face.

    Attributes:
        box: Bounding box in pixels of the source frame.
        score: Confidence of the detector.
        keypoints: float32, (6, 2), x and y in pixels of the source frame, in the order of KEYPOINTS. Points
            that the detector does not report are NaN, such as the ears with YuNet.
    """

    box: Box
    score: float
    keypoints: Floats

    def moved(self, right: float, down: float) -> Face:
        """Return the face shifted by pixels to the right and down."""
        points = self.keypoints + np.array((right, down), np.float32)
        return Face(self.box.moved(right, down), self.score, points)


@dataclass(frozen=True, slots=True)
class Reading:
    """The output of a task for a face or for the scene: classes, numbers, or both.

    Attributes:
        label: The predicted class, or None for a task without classes.
        probs: Probability of each class, by label.
        values: Numbers by name, such as angles in degrees.
        shown: How the overlay draws readings of this class. "line": a line of text. "bar": the bar at the
            bottom of the picture, for readings of the scene. "tag": the label on the box of a face, with the
            most probable classes next to it. "skeleton": the joints of a person, joined by lines.
    """

    label: str | None = None
    probs: Mapping[str, float] | None = None
    values: Mapping[str, float] | None = None
    shown: ClassVar[ReadingStyle] = "line"

    @property
    def score(self) -> float | None:
        """The probability of the label, else the highest one; None without `probs`."""
        if not self.probs:
            return None
        known = self.probs.get(self.label) if self.label is not None else None
        return float(max(self.probs.values()) if known is None else known)

    @property
    def ready(self) -> bool:
        """Whether the task has received enough frames for a label; False while a window fills up."""
        return True

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of the reading, with numbers rounded to four decimals."""
        found: dict[str, Any] = {}
        if self.label is not None:
            found["label"] = self.label
        if self.score is not None:
            found["score"] = round_number(self.score)
        if self.probs is not None:
            found["probs"] = round_probabilities(self.probs)
        if self.values is not None:
            found["values"] = {name: round_number(value) for name, value in self.values.items()}
        return found


@dataclass(frozen=True, slots=True, init=False)
class Emotion(Reading):
    """The expression of one face.

    Attributes:
        label: The predicted class; "uncertain" below the threshold.
        probs: Probability of each class, by label; they sum to 1.
        score: Probability of the label, or of the most probable class if the label is "uncertain".
    """

    shown: ClassVar[ReadingStyle] = "tag"

    label: str
    probs: Mapping[str, float]
    score: float = field(kw_only=True)

    def __init__(self, label: str, score: float, probs: Mapping[str, float]) -> None:
        Reading.__init__(self, label, probs)
        object.__setattr__(self, "score", score)


@dataclass(frozen=True, slots=True, init=False)
class Action(Reading):
    """The action in the most recent window of frames.

    Attributes:
        label: The predicted class; "uncertain" below the threshold, and until `ready`.
        probs: Probability of each class, by label; empty until `ready`.
        score: Probability of the label, or of the most probable class if the label is "uncertain".
        ready: Whether the window is full.
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
        """Return the JSON object of the reading, which leaves out `probs`."""
        label = self.label if self.ready else UNCERTAIN
        return {"label": label, "score": round_number(self.score), "ready": self.ready}


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """A face in view, with the number of its track.

    Attributes:
        track: Track number. It stays the same while the face is in view and does not identify a person.
        box: Bounding box in pixels of the source frame, smoothed over time.
        score: Confidence of the detector.
        readings: The current reading of each task, by the name of the task. A task is absent until its first
            reading of this face.
        last: The most recent detection; None in results that do not come from a pipeline.
        offset: Extrapolated motion since that detection, in pixels to the right and down.
        seen_s: Source time in seconds of the frame of that detection.
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
        """The reading of the emotion task; None before the first one, and if the task is off."""
        reading = self.readings.get("emotion")
        return reading if isinstance(reading, Emotion) else None

    @property
    def detected(self) -> Face | None:
        """The most recent detection, moved by `offset`."""
        return None if self.last is None else self.last.moved(*self.offset)

    @property
    def keypoints(self) -> Floats | None:
        """The key points of the most recent detection (see `Face.keypoints`), moved by `offset`."""
        face = self.detected
        return None if face is None else face.keypoints


def round_probabilities(probs: Mapping[str, float]) -> dict[str, float]:
    """Round probabilities to four decimals without changing their sum (largest remainder method).

    Rounding each value on its own would let the sum drift with the number of labels.
    """
    exact = {label: max(0.0, float(p)) * PROBABILITY_STEPS for label, p in probs.items()}
    steps = {label: int(value) for label, value in exact.items()}
    missing = round(sum(exact.values())) - sum(steps.values())
    for label in sorted(exact, key=lambda name: steps[name] - exact[name])[:missing]:
        steps[label] += 1
    return {label: count / PROBABILITY_STEPS for label, count in steps.items()}


def round_number(value: float) -> float | None:
    """Round to four decimals for JSON; None for NaN and infinity."""
    return round(float(value), 4) if math.isfinite(value) else None


def check_picture(picture: object) -> Image:
    """Check a picture passed by a caller.

    Returns:
        The picture as a contiguous array, uint8, (height, width, 3).

    Raises:
        TypeError: The picture is not a NumPy array of uint8.
        ValueError: The picture has another shape, or no pixels.
    """
    if not isinstance(picture, np.ndarray):
        kind = type(picture).__name__
        raise TypeError(
            f"a picture must be a NumPy array of uint8 (height, width, 3) in BGR order, not {kind}"
        )
    if picture.dtype != np.uint8:
        hint = "; convert values from 0 to 1 with (picture * 255).astype(numpy.uint8)"
        raise TypeError(
            f"a picture must have the dtype uint8, with values from 0 to 255, not {picture.dtype}"
            + (hint if picture.dtype.kind == "f" else "")
        )
    if picture.ndim == 2:
        raise ValueError(
            f"a picture must have three channels, not the shape {picture.shape}; "
            "convert a grayscale picture with cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)"
        )
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"a picture must have the shape (height, width, 3), not {picture.shape}")
    if picture.size == 0:
        raise ValueError(f"the picture is empty: its shape is {picture.shape}")
    return np.ascontiguousarray(picture)
