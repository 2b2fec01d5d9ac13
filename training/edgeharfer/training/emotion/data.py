"""Data for emotion training: faces, targets, and the training and validation split."""

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
from edgeharfer.training.records import counted, file_hash

HEADS = {"fer7": FER7, "fer8": ferplus.LABELS}
"""Label sets: FER-2013's labels, and the FER+ votes with contempt."""


@dataclass
class HeadTargets:
    """Training targets by head.

    Attributes:
        by_head: Head -> float32 (n, classes); a row of zeros is ignored by the loss.
    """

    by_head: dict[str, Floats]

    def rows(self, index: NDArray[np.int64]) -> dict[str, Floats]:
        """Return copies of the given rows."""
        return {head: rows[index] for head, rows in self.by_head.items()}

    def with_more(self, others: Mapping[str, Floats]) -> HeadTargets:
        """Return these targets followed by others, and by zeros for a head without others."""
        number = len(next(iter(others.values())))
        return HeadTargets({
            head: np.concatenate([rows, others.get(head, np.zeros((number, rows.shape[1]), np.float32))])
            for head, rows in self.by_head.items()
        })  # fmt: skip


def make_targets(
    faces: Faces,
    votes: Mapping[str, Floats] | None,
    *,
    smoothing: float = 0.0,
    majority: bool = False,
    weight_cap: float = 0.0,
) -> HeadTargets:
    """Build targets from FER-2013's labels and, if given, FER+ votes.

    Args:
        faces: Labelled faces.
        votes: Image name -> FER+ votes; None omits the second head.
        smoothing: Label smoothing of FER-2013's labels.
        majority: Use the label with the majority of the votes instead of their distribution; rows without a
            majority are zero.
        weight_cap: Largest class weight. Rows are multiplied by weights that balance the classes; 0 disables
            it.
    """
    one_hot = np.eye(len(FER7), dtype=np.float32)[faces.labels]
    by_head = {"fer7": one_hot * (1 - smoothing) + smoothing / len(FER7)}
    if votes is not None:
        to_row = _majority_row if majority else ferplus.distribution
        no_votes = np.zeros(10, np.float32)
        by_head["fer8"] = np.stack([to_row(votes.get(name, no_votes)) for name in faces.names])
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
    """Return the labels that each head is evaluated on.

    Args:
        faces: Labelled faces.
        votes: Image name -> FER+ votes.

    Returns:
        Head -> int64 (n,): FER-2013's label; the majority of the FER+ votes, or -1 without one.
    """
    truth: dict[str, NDArray[np.int64]] = {"fer7": faces.labels}
    if votes is not None:
        found = [ferplus.majority(votes[name]) if name in votes else None for name in faces.names]
        truth["fer8"] = np.array([-1 if label is None else label for label in found])
    return truth


def split_validation(faces: Faces, share: float, seed: int) -> tuple[Faces, Faces]:
    """Split off a share of the training images for validation."""
    order = np.random.default_rng(seed).permutation(len(faces))
    held = round(len(faces) * share)
    return faces.take(np.sort(order[held:])), faces.take(np.sort(order[:held]))


@dataclass(frozen=True)
class TrainingData:
    """Data of one training run.

    Attributes:
        train: Training faces.
        validation: Held-out training faces, used to select the best epoch, the temperature and the priors.
        test: Evaluation split, scored once after training.
        votes: Image name -> FER+ votes.
        facts: Counts and hashes for the run's records.
    """

    train: Faces
    validation: Faces
    test: Faces
    votes: Mapping[str, Floats] | None
    facts: dict[str, object]

    @property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """Label sets by head for which there is data."""
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
    """Read the data set, drop duplicates, align faces and split off the validation share.

    The evaluation split is used only to remove its duplicates from the training images and for the final
    scores.

    Args:
        data: Folder, zip or Kaggle CSV.
        votes_file: FER+ table.
        detector: Face detector for the alignment.
        validation_share: Share of the training images to hold out.
        seed: Seed of the split.
        drop_copies: Drop duplicates within the training split and of evaluation images.
        limit: Maximum number of training images, drawn at random; the others are not aligned.
        report: Receives progress messages.
    """
    splits = read_splits(data, votes=votes_file)
    everything, test = train_and_test(splits, data)
    votes = ferplus.read_votes(votes_file) if votes_file else None
    if votes is not None:
        check_votes(everything, votes)
    for name in (*everything.unreadable, *test.unreadable):
        report(f"skipped {name}: damaged")
    deduplicated = without_duplicates(everything, *(one for one in splits.values() if one is not everything))
    clean = deduplicated if drop_copies else everything
    report(f"{len(clean)} training images; dropped: {counted(clean.dropped)}")
    train, validation = split_validation(clean, validation_share, seed)
    if limit is not None and limit < len(train):
        drawn = np.random.default_rng(seed).permutation(len(train))[:limit]
        train = train.take(np.sort(drawn))
    found, found_held, found_test = (align_faces(faces, detector) for faces in (train, validation, test))
    report(
        f"faces aligned: {found} of {len(train)} training, {found_held} of {len(validation)} held-out and "
        f"{found_test} of {len(test)} evaluation images"
    )
    facts: dict[str, object] = {
        "pictures": len(train),
        "validation_pictures": len(validation),
        "dropped": dict(clean.dropped),
        "unreadable": everything.unreadable,
        "copies_kept": {} if drop_copies else dict(deduplicated.dropped - everything.dropped),
        "split": test.split,
        "aligned": found + found_held,
        "data_sha256": file_hash(data) if data.is_file() else None,
        "votes_sha256": file_hash(votes_file) if votes_file else None,
    }
    return TrainingData(train, validation, test, votes, facts)
