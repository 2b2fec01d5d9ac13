"""What emotion training learns from: faces, their targets, and the shares kept back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.types import Floats
from edgeharfer.training.emotion.faces import (
    Faces,
    align_faces,
    check_votes,
    read_splits,
    train_and_test,
    without_duplicates,
)
from edgeharfer.training.emotion.kaggle import FER7
from edgeharfer.training.losses import class_weights
from edgeharfer.training.records import file_hash

HEADS = {"fer7": FER7, "fer8": ferplus.LABELS}
"""Label sets: FER-2013's labels, and the FER+ votes with contempt."""


@dataclass
class HeadTargets:
    """What the heads should say: float32 (n, classes) each; a row of zeros teaches nothing."""

    by_head: dict[str, Floats]

    def rows(self, index: NDArray[np.int64]) -> dict[str, Floats]:
        """Copies of some rows."""
        return {head: rows[index] for head, rows in self.by_head.items()}


def make_targets(
    faces: Faces,
    votes: Mapping[str, Floats] | None,
    *,
    smoothing: float = 0.0,
    majority: bool = False,
    weight_cap: float = 0.0,
) -> HeadTargets:
    """FER-2013's labels, smoothed, and what the FER+ votes say where there are any.

    majority: the second head learns the label of the majority instead of the votes' distribution; where
    there is none, the row is masked (zeros). weight_cap: rows are scaled so that classes count alike, by
    weights of at most that much; 0 leaves them.
    """
    one_hot = np.eye(len(FER7), dtype=np.float32)[faces.labels]
    by_head = {"fer7": one_hot * (1 - smoothing) + smoothing / len(FER7)}
    if votes is not None:
        say = _majority_row if majority else ferplus.distribution
        nobody = np.zeros(10, np.float32)
        by_head["fer8"] = np.stack([say(votes.get(name, nobody)) for name in faces.names])
    if weight_cap:
        for rows in by_head.values():
            weights = class_weights(rows, weight_cap).astype(np.float32)
            rows *= weights[rows.argmax(axis=1)][:, None]
    return HeadTargets(by_head)


def _majority_row(votes: Floats) -> Floats:
    label = ferplus.majority(votes)
    row = np.zeros(len(ferplus.LABELS), np.float32)
    if label is not None:
        row[label] = 1
    return row


def true_labels(faces: Faces, votes: Mapping[str, Floats] | None) -> dict[str, NDArray[np.int64]]:
    """What each head is held against: FER-2013's label; the majority of the FER+ votes, or -1."""
    truth: dict[str, NDArray[np.int64]] = {"fer7": faces.labels}
    if votes is not None:
        found = [ferplus.majority(votes[name]) if name in votes else None for name in faces.names]
        truth["fer8"] = np.array([-1 if label is None else label for label in found])
    return truth


def split_validation(faces: Faces, share: float, seed: int) -> tuple[Faces, Faces]:
    """Take a share of the training pictures away for choosing the best epoch."""
    order = np.random.default_rng(seed).permutation(len(faces))
    held = round(len(faces) * share)
    return faces.take(np.sort(order[held:])), faces.take(np.sort(order[:held]))


@dataclass(frozen=True)
class TrainingData:
    """All that training needs, read once."""

    train: Faces
    validation: Faces
    test: Faces
    votes: Mapping[str, Floats] | None
    facts: dict[str, object]

    @property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """Label sets that can be learned from what there is."""
        return {head: labels for head, labels in HEADS.items() if head == "fer7" or self.votes is not None}


def prepare_data(
    data: Path,
    votes_file: Path | None,
    detector: Detector,
    *,
    validation_share: float,
    seed: int,
    drop_copies: bool = True,
    limit: int | None = None,
    report: Callable[[str], None],
) -> TrainingData:
    """Read, drop copies, align, and take the validation share away.

    The evaluation split serves two ends only: its copies leave the training pictures, and it is scored
    once, after training.
    """
    splits = read_splits(data, votes=votes_file)
    everything, test = train_and_test(splits, data)
    for name in (*everything.unreadable, *test.unreadable):
        report(f"skipped {name}: damaged")
    would_keep = without_duplicates(everything, *(one for one in splits.values() if one is not everything))
    clean = would_keep if drop_copies else everything
    report(f"{len(clean)} training pictures; dropped {dict(clean.dropped)}")
    found, found_test = align_faces(clean, detector), align_faces(test, detector)
    report(f"face found and aligned in {found} of {len(clean)}; {found_test} of {len(test)} for evaluation")
    votes = ferplus.read_votes(votes_file) if votes_file else None
    if votes is not None:
        check_votes(everything, votes)
    train, validation = split_validation(clean, validation_share, seed)
    if limit is not None and limit < len(train):
        drawn = np.random.default_rng(seed).permutation(len(train))[:limit]
        train = train.take(np.sort(drawn))
    facts: dict[str, object] = {
        "pictures": len(train),
        "validation_pictures": len(validation),
        "dropped": dict(clean.dropped),
        "unreadable": everything.unreadable,
        "copies_kept": {} if drop_copies else dict(would_keep.dropped - everything.dropped),
        "split": test.split,
        "aligned": found,
        "data_sha256": file_hash(data) if data.is_file() else None,
        "votes_sha256": file_hash(votes_file) if votes_file else None,
    }
    return TrainingData(train, validation, test, votes, facts)
