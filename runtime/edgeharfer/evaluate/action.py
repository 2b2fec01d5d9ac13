"""Accuracy of a package that reads clips, each window as `run` would see it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgeharfer.evaluate.dataset import Dataset, LabelledFile, Progress, match_labels
from edgeharfer.evaluate.metrics import score
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.tasks import ACTION
from edgeharfer.runtime.tasks.action import ActionModel, FeatureRing
from edgeharfer.runtime.types import Floats, Frame, Image

Picture = TypeVar("Picture")


@dataclass
class ClipScores:
    """What a model says of labelled clips.

    probs: a clip's windows, float32 (windows, classes). truth: its class. names: of the clips.
    unreadable: clips that gave no picture.
    """

    probs: list[Floats] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def add(self, name: str, truth: int, probs: Floats) -> None:
        """Take in one clip."""
        self.names.append(name)
        self.truth.append(truth)
        self.probs.append(probs)


def clip_windows(
    frames: Iterable[tuple[float, Picture]], window: WindowSpec, encode: Callable[[Picture], Floats]
) -> Floats:
    """Every window of a clip as the runtime's ring gives it, float32 (windows, frames, size).

    frames: time in seconds and picture of each frame. encode: picture -> features (size,).
    A clip too short for one window stands still on its last features until the window is full.
    """
    ring = FeatureRing(window)
    found: list[Floats] = []
    features: Floats | None = None
    pts_s = 0.0
    for pts_s, picture in frames:
        if ring.wants(pts_s):
            features = encode(picture)
            ring.push(pts_s, features)
            if ring.ready:
                found.append(ring.window()[0])
    if features is None:
        raise SourceError("a clip without a picture")
    return np.stack(found or [_held(ring, pts_s, features, window)])


def _held(ring: FeatureRing, pts_s: float, features: Floats, spec: WindowSpec) -> Floats:
    step_s = min(spec.seconds / spec.frames, spec.max_gap_s)
    while not ring.ready:
        pts_s += step_s
        if ring.wants(pts_s):
            ring.push(pts_s, features)
    window: Floats = ring.window()[0]
    return window


def read_frames(path: Path) -> Iterator[Frame]:
    """The frames of a clip in order. Raises SourceError where it cannot be read."""
    with open_source(path) as source:
        while (frame := source.read()) is not None:
            yield frame


def classify_clip(model: ActionModel, path: Path) -> Floats:
    """Probabilities of each window of a clip, float32 (windows, classes)."""
    frames: Iterator[tuple[float, Image]] = ((frame.pts_s, frame.bgr) for frame in read_frames(path))
    windows = clip_windows(frames, model.window, model.encode)
    return np.stack([model.classify(window[None]) for window in windows])


def evaluate_action(
    package: Package,
    data: Dataset,
    samples: Sequence[LabelledFile],
    backend: Backend = CPU,
    *,
    progress: Progress = lambda done, total: None,
) -> dict[str, object]:
    """The figures of `evaluate --json` for clips, with what `summarize_clips` adds.

    data: listed with the suffixes of clips; samples: those of it to measure on. Classes that the model
    lacks are left out and counted, clips that cannot be read are listed.
    Raises SourceError where no clip of the model's classes can be read.
    """
    model = ActionModel(package, backend)
    labels = package.manifest.labels
    pairs, left_out = match_labels(samples, labels)
    scores = ClipScores()
    with tempfile.TemporaryDirectory() as scratch:
        for done, (sample, truth) in enumerate(pairs, 1):
            try:
                with data.local_file(sample, Path(scratch)) as path:
                    scores.add(sample.name, truth, classify_clip(model, path))
            except SourceError:
                scores.unreadable.append(sample.name)
            progress(done, len(pairs))
    if not scores.names:
        raise SourceError(f"{data.path}: no readable clip of a class that {package.manifest.name} knows")
    figures = {**summarize_clips(scores, labels), "left_out": dict(sorted(left_out.items()))}
    return {**figures, "task": package.manifest.task}


def summarize_clips(scores: ClipScores, labels: Sequence[str]) -> dict[str, object]:
    """Figures per clip, its windows averaged.

    Beside those of `score`: how many `windows` and their `window_top1`, `unreadable` clips, `mistakes`.
    """
    truth = np.array(scores.truth, np.int64)
    probs = np.stack([windows.mean(axis=0) for windows in scores.probs])
    right = [(windows.argmax(axis=1) == label) for windows, label in zip(scores.probs, truth, strict=True)]
    return {
        **score(ACTION, probs, truth, labels),
        "windows": sum(len(windows) for windows in scores.probs),
        "window_top1": float(np.concatenate(right).mean()),
        "unreadable": list(scores.unreadable),
        "mistakes": [
            {
                "clip": name,
                "label": labels[label],
                "predicted": labels[int(row.argmax())],
                "score": float(row.max()),
            }
            for name, label, row in zip(scores.names, truth, probs, strict=True)
            if row.argmax() != label
        ],
    }
