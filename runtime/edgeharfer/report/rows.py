"""The lines of `frames.csv`: each sighting with the label that stands after smoothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeharfer.report.record import SCORE_DIGITS, FaceSample, Observations, SampledFace
from edgeharfer.report.smoothing import Smoothing


@dataclass(frozen=True, slots=True)
class FrameRow:
    """A face in a sample. probs: averaged over time, as labels go; label: "" when emotions are off."""

    sample: FaceSample
    face: SampledFace
    label: str
    score: float
    probs: tuple[float, ...]


def label_rows(
    recording: Observations, labels: Sequence[str], threshold: float, smoothing: Smoothing
) -> tuple[FrameRow, ...]:
    """All sightings in order of time, each track smoothed by itself."""
    seen = [(sample, face) for sample in recording.samples for face in sample.faces]
    if not labels:
        return tuple(FrameRow(sample, face, "", 0.0, ()) for sample, face in seen)
    places: dict[int, list[int]] = {}
    for place, (_, face) in enumerate(seen):
        places.setdefault(face.track, []).append(place)
    rows: dict[int, FrameRow] = {}
    for mine in places.values():
        track = _label_track([seen[place] for place in mine], labels, threshold, smoothing)
        rows.update(zip(mine, track, strict=True))
    return tuple(rows[place] for place in range(len(seen)))


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
