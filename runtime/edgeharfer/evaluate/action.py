"""Accuracy of an action package on labelled clips, with the time windows of a live run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from edgeharfer.evaluate.dataset import Dataset, LabelledFile, match_labels
from edgeharfer.evaluate.metrics import score
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.source import open_source
from edgeharfer.runtime.tasks import ACTION
from edgeharfer.runtime.tasks.action import ActionModel, FeatureRing
from edgeharfer.runtime.types import Floats, Frame

Picture = TypeVar("Picture")


@dataclass
class ClipScores:
    """Predictions for labelled clips.

    Attributes:
        probs: Probabilities of each clip's windows, float32 (windows, classes).
        truth: Class index of each clip.
        names: Name of each clip.
        unreadable: Names of clips without a readable frame.
    """

    probs: list[Floats] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def add(self, name: str, truth: int, probs: Floats) -> None:
        """Add one clip."""
        self.names.append(name)
        self.truth.append(truth)
        self.probs.append(probs)


def clip_windows(
    frames: Iterable[tuple[float, Picture]], window: WindowSpec, encode: Callable[[Picture], Floats]
) -> Floats:
    """All time windows of a clip, as the runtime's feature ring returns them.

    Args:
        frames: Time in seconds and picture of each frame.
        window: Window of the model.
        encode: Function from a picture to features, (size,).

    Returns:
        float32 (windows, frames, size). A clip shorter than one window is padded with its last features.

    Raises:
        SourceError: The clip has no frames.
    """
    ring = FeatureRing(window)
    windows: list[Floats] = []
    features: Floats | None = None
    pts_s = 0.0
    for pts_s, picture in frames:
        if ring.wants(pts_s):
            features = encode(picture)
            ring.push(pts_s, features)
            if ring.ready:
                windows.append(ring.window()[0])
    if features is None:
        raise SourceError("the clip has no frames")
    return np.stack(windows or [_padded_window(ring, pts_s, features, window)])


def _padded_window(ring: FeatureRing, pts_s: float, features: Floats, spec: WindowSpec) -> Floats:
    step_s = min(spec.seconds / spec.frames, spec.max_gap_s)
    while not ring.ready:
        pts_s += step_s
        if ring.wants(pts_s):
            ring.push(pts_s, features)
    window: Floats = ring.window()[0]
    return window


def read_frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of a clip in order.

    Raises:
        SourceError: The clip cannot be read.
    """
    with open_source(path) as source:
        while (frame := source.read()) is not None:
            yield frame


def classify_clip(model: ActionModel, path: Path) -> Floats:
    """Class probabilities of each window of a clip, float32 (windows, classes)."""
    model.reset()
    frames = ((frame.pts_s, frame.picture) for frame in read_frames(path))
    windows = clip_windows(frames, model.window, model.encode_picture)
    return np.stack([model.classify(window[None]) for window in windows])


def evaluate_action(
    package: Package,
    data: Dataset,
    samples: Sequence[LabelledFile],
    backend: Backend = CPU,
) -> dict[str, object]:
    """Compute the figures of `evaluate --json` for clips.

    Args:
        package: The action package.
        data: Data set listed with the suffixes of clips.
        samples: Samples of `data` to evaluate. Those of classes that the model does not have are counted
            as "left_out".
        backend: Execution provider and precision.

    Returns:
        The figures of `summarize_clips` with "left_out" and "task".

    Raises:
        SourceError: No clip of the model's classes can be read.
    """
    model = ActionModel(package, backend)
    labels = package.manifest.labels
    pairs, left_out = match_labels(samples, labels)
    scores = ClipScores()
    with tempfile.TemporaryDirectory() as scratch:
        for sample, truth in with_progress(pairs, "evaluating clips"):
            try:
                with data.local_file(sample, Path(scratch)) as path:
                    scores.add(sample.name, truth, classify_clip(model, path))
            except SourceError:
                scores.unreadable.append(sample.name)
    if not scores.names:
        raise SourceError(f"{data.path}: no readable clip of a class of {package.manifest.name}")
    figures = {**summarize_clips(scores, labels), "left_out": dict(sorted(left_out.items()))}
    return {**figures, "task": package.manifest.task}


def summarize_clips(scores: ClipScores, labels: Sequence[str]) -> dict[str, object]:
    """Compute figures per clip from the mean of its windows.

    Returns:
        The figures of `score` with "windows" (count), "window_top1", "unreadable" and "mistakes".
    """
    truth = np.array(scores.truth, np.int64)
    probs = np.stack([windows.mean(axis=0) for windows in scores.probs])
    correct = [windows.argmax(axis=1) == label for windows, label in zip(scores.probs, truth, strict=True)]
    return {
        **score(ACTION, probs, truth, labels),
        "windows": sum(len(windows) for windows in scores.probs),
        "window_top1": float(np.concatenate(correct).mean()),
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
