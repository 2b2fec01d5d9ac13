"""The sink of a report: collects the face readings of each sample and the action of each window."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgeharfer.report.record import (
    BOX_DIGITS,
    PROBABILITY_DIGITS,
    SCORE_DIGITS,
    TIME_DIGITS,
    VALUE_DIGITS,
    ActionReading,
    FaceSample,
    Observations,
    SampledFace,
)
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.schedule import SamplingSchedule
from edgeharfer.runtime.sinks import Sink
from edgeharfer.runtime.stats import Status
from edgeharfer.runtime.tasks import ACTION, EMOTION
from edgeharfer.runtime.tasks.base import Task
from edgeharfer.runtime.types import Action, Box, Floats, Frame, TrackedFace

SampleCallback = Callable[[Frame, FaceSample], None]
Columns = Sequence[tuple[str, str]]
"""(task name, name of a value or class) of each column."""


def value_columns(tasks: Sequence[Task]) -> Columns:
    """The values and class probabilities that tasks on faces return."""
    return tuple(
        (task.name, name)
        for task in tasks
        for names in (getattr(task, "value_names", ()), getattr(task, "labels", ()))
        for name in names
    )


class Collector(Sink):
    """Collects observations from the results of a pipeline.

    Args:
        schedule: Sampling schedule of the pipeline.
        columns: Values of extra tasks to collect.
        keypoints: Whether to collect key points.
        fps: Frame rate of the source, which gives the duration of a single frame.
        progress: Called with the number of frames so far.
        on_sample: Called with the frame of each sample.
    """

    def __init__(
        self,
        schedule: SamplingSchedule,
        columns: Columns,
        keypoints: bool,
        fps: float | None,
        progress: Callable[[int], None] = lambda frames: None,
        on_sample: SampleCallback | None = None,
    ) -> None:
        self._schedule, self._columns, self._progress = schedule, columns, progress
        self._keypoints, self._on_sample = keypoints, on_sample
        self._frame_s = 1 / fps if fps else 0.0
        self._samples: list[FaceSample] = []
        self._readings: list[ActionReading] = []
        self._cuts_s: list[float] = []
        self._frames = 0
        self._first_s = self._last_s = 0.0
        self._stills = False

    def write(self, frame: Frame, result: Result, status: Status) -> None:
        """Collect the new readings of a frame."""
        self._stills = frame.still
        if result.cut:
            self._cuts_s.append(_seconds(result))
        action = result.updates.get(ACTION)
        if isinstance(action, Action) and action.ready:
            self._readings.append(
                ActionReading(_seconds(result), action.label, round(action.score, SCORE_DIGITS))
            )
        if frame.still or self._schedule.sampled:
            self._sample(frame, result)
        self._first_s = self._first_s if self._frames else frame.pts_s
        self._last_s = frame.pts_s
        self._frames += 1
        self._progress(self._frames)

    def recording(self) -> Observations:
        """All observations so far."""
        return Observations(
            tuple(self._samples),
            tuple(self._readings),
            self._duration_s(),
            self._frames,
            self._stills,
            tuple(self._cuts_s),
            tuple(f"{task}_{value}" for task, value in self._columns),
        )

    def _duration_s(self) -> float:
        if self._stills:
            return 0.0
        span_s = self._last_s - self._first_s
        last_frame_s = span_s / (self._frames - 1) if self._frames > 1 else self._frame_s
        return round(span_s + last_frame_s, TIME_DIGITS)

    def _sample(self, frame: Frame, result: Result) -> None:
        picture = Path(frame.file).name if frame.still else ""
        faces = tuple(self._sampled_face(face, result) for face in result.faces)
        sample = FaceSample(_seconds(result), frame.seq, picture, faces)
        self._samples.append(sample)
        if self._on_sample:
            self._on_sample(frame, sample)

    def _sampled_face(self, face: TrackedFace, result: Result) -> SampledFace:
        """The readings of a face in this frame, without those carried over from earlier frames."""
        new = {
            task: readings[face.track]
            for task, readings in result.updates.items()
            if isinstance(readings, Mapping) and face.track in readings
        }
        probs = (new[EMOTION].probs or {}) if EMOTION in new else {}
        numbers = {task: {**(reading.probs or {}), **(reading.values or {})} for task, reading in new.items()}
        return SampledFace(
            face.track,
            _rounded(face.box),
            round(float(face.score), SCORE_DIGITS),
            tuple(round(p, PROBABILITY_DIGITS) for p in probs.values()),
            tuple(_value(numbers.get(task, {}).get(name)) for task, name in self._columns),
            _points(face.keypoints) if self._keypoints else (),
        )


def _seconds(result: Result) -> float:
    return round(result.pts_s, TIME_DIGITS)


def _points(keypoints: Floats | None) -> tuple[float | None, ...]:
    """x and y of each key point, rounded; None for points that were not found."""
    if keypoints is None:
        return ()
    values = np.round(keypoints.astype(np.float64), BOX_DIGITS).ravel().tolist()
    return tuple(value if math.isfinite(value) else None for value in values)


def _value(value: float | None) -> float | None:
    """A value rounded as in `frames.csv`; None if it is missing, infinite or NaN."""
    return None if value is None or not math.isfinite(value) else round(float(value), VALUE_DIGITS)


def _rounded(box: Box) -> Box:
    values = (box.x, box.y, box.width, box.height)
    return Box(*(round(float(value), BOX_DIGITS) for value in values))
