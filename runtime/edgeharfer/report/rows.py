"""The lines of `frames.csv`: each sampled face with its label after smoothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeharfer.report.record import SCORE_DIGITS, FaceSample, Observations, SampledFace
from edgeharfer.report.smoothing import Smoothing
from edgeharfer.runtime.tasks.intensity import IntensityEstimator


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A face in a sample.

    Attributes:
        sample: The sample.
        face: The face.
        label: Label after smoothing; "" when emotions are off.
        score: Smoothed probability of the label.
        probs: Smoothed probabilities in the order of the labels; empty when emotions are off.
        strength: How strong the emotion looks, 0 to 1, from the smoothed probabilities; None when emotions
            are off, and for a model without the label "neutral".
    """

    sample: FaceSample
    face: SampledFace
    label: str
    score: float
    probs: tuple[float, ...]
    strength: float | None = None


def label_rows(
    recording: Observations,
    labels: Sequence[str],
    threshold: float,
    smoothing: Smoothing,
    strength: IntensityEstimator | None = None,
) -> tuple[FrameRow, ...]:
    """Smooth and label each track; return one row per sampled face in order of time."""
    strength = strength or IntensityEstimator()
    seen = [(sample, face) for sample in recording.samples for face in sample.faces]
    if not labels:
        return tuple(FrameRow(sample, face, "", 0.0, ()) for sample, face in seen)
    by_track: dict[int, list[int]] = {}
    for index, (_, face) in enumerate(seen):
        by_track.setdefault(face.track, []).append(index)
    rows: dict[int, FrameRow] = {}
    for indices in by_track.values():
        track = _label_track([seen[index] for index in indices], labels, threshold, smoothing, strength)
        rows.update(zip(indices, track, strict=True))
    return tuple(rows[index] for index in range(len(seen)))


def _label_track(
    seen: Sequence[tuple[FaceSample, SampledFace]],
    labels: Sequence[str],
    threshold: float,
    smoothing: Smoothing,
    strength: IntensityEstimator,
) -> Iterable[FrameRow]:
    times_s = np.array([sample.time_s for sample, _ in seen])
    probs = smoothing.apply(times_s, np.array([face.raw for _, face in seen], np.float32))
    chosen = smoothing.choose(probs, labels, threshold)
    for (sample, face), mean, (label, score) in zip(seen, probs, chosen, strict=True):
        values = mean.tolist()
        intensity = strength.estimate(dict(zip(labels, values, strict=True)))
        rounded = None if intensity is None else round(intensity, SCORE_DIGITS)
        yield FrameRow(sample, face, label, round(score, SCORE_DIGITS), tuple(values), rounded)
