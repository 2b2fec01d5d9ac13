"""Observations of one input before smoothing.

Numbers are rounded as in `frames.csv`, so that results computed from the file equal those of the report.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeharfer.runtime.types import Box

TIME_DIGITS, BOX_DIGITS, SCORE_DIGITS, PROBABILITY_DIGITS, VALUE_DIGITS = 4, 1, 4, 6, 3


@dataclass(frozen=True, slots=True)
class SampledFace:
    """One face in one sample.

    Attributes:
        track: Number of the face while it stays in view.
        box: Bounding box in pixels.
        score: Score of the face detector.
        raw: Unsmoothed probabilities in the order of the model's labels; empty when emotions are off.
        values: Values of extra tasks in the order of `Observations.columns`; None where a task returned
            no value for this face.
        keypoints: x and y in pixels of each of `KEYPOINTS`; None for points that the detector did not
            find; empty if it finds none at all.
    """

    track: int
    box: Box
    score: float
    raw: tuple[float, ...]
    values: tuple[float | None, ...] = ()
    keypoints: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class FaceSample:
    """A frame in which faces were sampled.

    Attributes:
        time_s: Time in the source.
        frame: Frame number.
        picture: File name of a picture; "" for a video.
        faces: The faces in the frame.
    """

    time_s: float
    frame: int
    picture: str
    faces: tuple[SampledFace, ...]


@dataclass(frozen=True, slots=True)
class ActionReading:
    """The action in the time window that ends at `time_s`; `label` may be "uncertain"."""

    time_s: float
    label: str
    score: float


@dataclass(frozen=True)
class Observations:
    """All observations of one input.

    Attributes:
        samples: Face samples in order of time.
        readings: Action readings in order of time.
        duration_s: Time from the first frame to the end of the last one; 0 for pictures.
        frames: Number of frames read.
        stills: Whether the input consists of pictures, which are independent of each other.
        cuts_s: Times of scene cuts.
        columns: Names of the values of extra tasks.
    """

    samples: tuple[FaceSample, ...]
    readings: tuple[ActionReading, ...]
    duration_s: float
    frames: int
    stills: bool
    cuts_s: tuple[float, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def step_s(self) -> float:
        """Seconds that one sample represents."""
        return self.duration_s / len(self.samples) if self.samples else 0.0
