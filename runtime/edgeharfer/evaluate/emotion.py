"""Accuracy of a package that reads faces on labelled pictures, framed as the model was taught."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.evaluate.dataset import Dataset, LabelledFile, Progress, canonical, match_labels
from edgeharfer.evaluate.metrics import score as figures_of
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.portrait import crop_portrait, find_face
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.tasks.emotion import EmotionModel
from edgeharfer.runtime.types import Floats, Image

BATCH = 64


@dataclass
class ScoredFaces:
    """Probabilities (n, classes) of n pictures with their true classes, and what was left out and why."""

    probs: Floats
    truth: NDArray[np.int64]
    left_out: dict[str, int] = field(default_factory=dict)
    without_face: int = 0


def evaluate_emotion(
    model: EmotionModel,
    data: Dataset,
    detector: Detector,
    *,
    split: str | None = None,
    votes: Mapping[str, Floats] | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, object]:
    """Figures of `evaluate --json` for one split.

    votes: FER+ votes by file name; the label is then their majority, and pictures without one are left out.
    Raises SourceError where no picture has a class that the model knows.
    """
    samples = data.split(split)
    labels = model.manifest.labels
    pairs, left_out = match_labels(samples, labels) if votes is None else match_votes(samples, votes, labels)
    if not pairs:
        raise SourceError(f"{data.path}: none of its classes is one of the model's: {', '.join(labels)}")
    scored = run_model(model, data, pairs, detector, progress)
    return {
        **figures_of(model.manifest.task, scored.probs, scored.truth, labels),
        "left_out": {**left_out, **scored.left_out},
        "without_face": scored.without_face,
    }


def match_votes(
    samples: Sequence[LabelledFile], votes: Mapping[str, Floats], labels: Sequence[str]
) -> tuple[list[tuple[LabelledFile, int]], Counter[str]]:
    """Pictures whose FER+ votes have a majority among the model's classes."""
    index = {canonical(label): i for i, label in enumerate(labels)}
    joined = (one for one in samples if one.file in votes)
    ferplus.check_agreement((ferplus.majority(votes[one.file]), canonical(one.label)) for one in joined)
    pairs, left_out = [], Counter[str]()
    for sample in samples:
        if sample.file not in votes:
            left_out["without votes"] += 1
            continue
        winner = ferplus.majority(votes[sample.file])
        name = None if winner is None else ferplus.LABELS[winner]
        if name is None:
            left_out["without a majority"] += 1
        elif name in index:
            pairs.append((sample, index[name]))
        else:
            left_out[name] += 1
    return pairs, left_out


def run_model(
    model: EmotionModel,
    data: Dataset,
    pairs: Sequence[tuple[LabelledFile, int]],
    detector: Detector,
    progress: Progress,
) -> ScoredFaces:
    """Run the model over the pictures; unreadable ones are counted and left out."""
    probs: list[Floats] = []
    truth: list[int] = []
    crops: list[Image] = []
    unreadable = without_face = 0
    for done, (sample, label) in enumerate(pairs, 1):
        progress(done, len(pairs))
        try:
            picture = decode_image(data.read(sample), sample.name)
        except SourceError:
            unreadable += 1
            continue
        face = find_face(picture, detector) if model.cuts_portraits else None
        without_face += face is None and model.cuts_portraits
        crops.append(crop_portrait(picture, face, model.crop, model.size))
        truth.append(label)
        if len(crops) == BATCH:
            probs.append(model.classify(crops))
            crops = []
    if crops:
        probs.append(model.classify(crops))
    if not truth:
        raise SourceError(f"{data.path}: none of its {len(pairs)} pictures can be read")
    left_out = {"unreadable": unreadable} if unreadable else {}
    return ScoredFaces(np.concatenate(probs), np.array(truth, np.int64), left_out, without_face)
