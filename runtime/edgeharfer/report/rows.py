"""The lines of `frames.csv`: each sampled face with its label after smoothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeharfer.report.record import SCORE_DIGITS, FaceSample, Observations, SampledFace
from edgeharfer.report.smoothing import Smoothing


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A face in a sample.

    Attributes:
        sample: The sample.
        face: The face.
        label: Label after smoothing; "" when emotions are off.
        score: Smoothed probability of the label.
        probs: Smoothed probabilities in the order of the labels; empty when emotions are off.
    """

    sample: FaceSample
    face: SampledFace
    label: str
    score: float
    probs: tuple[float, ...]


def label_rows(
    recording: Observations, labels: Sequence[str], threshold: float, smoothing: Smoothing
) -> tuple[FrameRow, ...]:
    """Smooth and label each track; return one row per sampled face in order of time."""
    seen = [(sample, face) for sample in recording.samples for face in sample.faces]
    if not labels:
        return tuple(FrameRow(sample, face, "", 0.0, ()) for sample, face in seen)
    by_track: dict[int, list[int]] = {}
    for index, (_, face) in enumerate(seen):
        by_track.setdefault(face.track, []).append(index)
    rows: dict[int, FrameRow] = {}
    for indices in by_track.values():
        track = _label_track([seen[index] for index in indices], labels, threshold, smoothing)
        rows.update(zip(indices, track, strict=True))
    return tuple(rows[index] for index in range(len(seen)))


def _label_track(
    seen: Sequence[tuple[FaceSample, SampledFace]],
    labels: Sequence[str],
    threshold: float,
    smoothing: Smoothing,
) -> Iterable[FrameRow]:
    times_s = np.array([sample.time_s for sample, _ in seen])
    probs = smoothing.apply(times_s, np.array([face.raw for _, face in seen], np.float32))
    chosen = smoothing.choose(probs, labels, threshold)
    for (sample, face), mean, (label, score) in zip(seen, probs, chosen, strict=True):
        yield FrameRow(sample, face, label, round(score, SCORE_DIGITS), tuple(mean.tolist()))
