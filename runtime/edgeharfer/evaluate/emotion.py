"""Accuracy of a package that classifies faces, on labelled pictures cropped as in training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.evaluate.dataset import Dataset, LabelledFile, canonical, match_labels
from edgeharfer.evaluate.metrics import score as figures_of
from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.portrait import crop_portrait, find_face
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.tasks.emotion import EmotionModel
from edgeharfer.runtime.types import Floats, Image

BATCH = 64


@dataclass
class ScoredFaces:
    """Predictions for labelled pictures.

    Attributes:
        probs: Probabilities, float32 (n, classes).
        truth: Class indices, int64 (n,).
        left_out: Number of skipped pictures by reason.
        without_face: Number of pictures in which no face was detected.
    """

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
) -> dict[str, object]:
    """Compute the figures of `evaluate --json` for one split.

    Args:
        model: The model.
        data: The pictures.
        detector: Face detector, for models that crop portraits.
        split: Name of the split; None chooses `Dataset.test_split`.
        votes: FER+ votes by file name. The label is then their majority; pictures without one are skipped.

    Raises:
        SourceError: No picture has a class of the model.
    """
    samples = data.split(split)
    labels = model.manifest.labels
    pairs, left_out = match_labels(samples, labels) if votes is None else match_votes(samples, votes, labels)
    if not pairs:
        raise SourceError(f"{data.path}: none of its classes is a class of the model: {', '.join(labels)}")
    scored = run_model(model, data, pairs, detector)
    return {
        **figures_of(model.manifest.task, scored.probs, scored.truth, labels),
        "left_out": {**left_out, **scored.left_out},
        "without_face": scored.without_face,
    }


def match_votes(
    samples: Sequence[LabelledFile], votes: Mapping[str, Floats], labels: Sequence[str]
) -> tuple[list[tuple[LabelledFile, int]], Counter[str]]:
    """Pair pictures with the majority of their FER+ votes.

    Returns:
        The pairs, and the number of skipped pictures by reason or class.

    Raises:
        SourceError: The votes belong to other pictures.
    """
    index = {canonical(label): i for i, label in enumerate(labels)}
    joined = (sample for sample in samples if sample.file in votes)
    ferplus.check_agreement(
        (ferplus.majority(votes[sample.file]), canonical(sample.label)) for sample in joined
    )
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
) -> ScoredFaces:
    """Classify the pictures; unreadable ones are counted and skipped.

    Raises:
        SourceError: None of the images can be read.
    """
    probs: list[Floats] = []
    truth: list[int] = []
    crops: list[Image] = []
    unreadable = without_face = 0
    for sample, label in with_progress(pairs, "evaluating images"):
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
        raise SourceError(f"{data.path}: none of its {len(pairs)} images can be read")
    left_out = {"unreadable": unreadable} if unreadable else {}
    return ScoredFaces(np.concatenate(probs), np.array(truth, np.int64), left_out, without_face)
