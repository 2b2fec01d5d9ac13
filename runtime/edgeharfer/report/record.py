"""What was seen of one input, before anything is averaged.

Numbers are rounded as they stand in `frames.csv`, so that whatever is computed from the file is what
the report says.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeharfer.runtime.types import Box

TIME_DIGITS, BOX_DIGITS, SCORE_DIGITS, PROBABILITY_DIGITS, VALUE_DIGITS = 4, 1, 4, 6, 3


@dataclass(frozen=True, slots=True)
class SampledFace:
    """One face in one sample.

    track: number of the face while it stays in view. score: the detector's.
    raw: the model's probabilities for this picture alone, in the order of its labels; empty when
    emotions are off. values: of further tasks, in the order of `Recording.columns`; None where a task said
    nothing of this face.
    """

    track: int
    box: Box
    score: float
    raw: tuple[float, ...]
    values: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class FaceSample:
    """A frame in which emotions were read. picture: file name of a photograph, "" for a film."""

    time_s: float
    frame: int
    picture: str
    faces: tuple[SampledFace, ...]


@dataclass(frozen=True, slots=True)
class ActionReading:
    """What went on in the window of time that ends at `time_s`; `label` may be "uncertain"."""

    time_s: float
    label: str
    score: float


@dataclass(frozen=True)
class Observations:
    """Everything seen of one input.

    duration_s: from the first frame to the end of the last one; 0 for photographs.
    frames: read in all. stills: photographs, which have no neighbours in time. cuts_s: when another scene
    began. columns: names of the values that further tasks give for each face.
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
        """The time that one sample stands for."""
        return self.duration_s / len(self.samples) if self.samples else 0.0
