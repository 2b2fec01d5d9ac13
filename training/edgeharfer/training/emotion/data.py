"""What emotion training learns from: faces, their targets, and the shares kept back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate import ferplus
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.preprocess import standardize
from edgeharfer.runtime.types import Floats
from edgeharfer.training.emotion.faces import FER7, Faces, align, read_faces, without_copies
from edgeharfer.training.records import file_hash

HEADS = {"fer7": FER7, "fer8": ferplus.LABELS}
"""Label sets: FER-2013's labels, and the FER+ votes with contempt."""


@dataclass
class Targets:
    """What the heads should say: float32 (n, classes) each; a row of zeros teaches nothing."""

    by_head: dict[str, Floats]

    def rows(self, index: NDArray[np.int64]) -> dict[str, Floats]:
        """Copies of some rows."""
        return {head: rows[index] for head, rows in self.by_head.items()}


def make_targets(faces: Faces, votes: Mapping[str, Floats] | None, smoothing: float) -> Targets:
    """Smoothed FER-2013 labels, and the distribution of the FER+ votes where there are any."""
    one_hot = np.eye(len(FER7), dtype=np.float32)[faces.labels]
    by_head = {"fer7": one_hot * (1 - smoothing) + smoothing / len(FER7)}
    if votes is not None:
        nobody = np.zeros(10, np.float32)
        by_head["fer8"] = np.stack([ferplus.distribution(votes.get(name, nobody)) for name in faces.names])
    return Targets(by_head)


def standardized(faces: Faces) -> Floats:
    """The runtime's crops as the model takes them, (n, 48, 48, 1)."""
    x = faces.aligned[..., None].astype(np.float32)
    standardize(x)
    return x


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
class Prepared:
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
    report: Callable[[str], None],
) -> Prepared:
    """Read, drop copies, align, and take the validation share away.

    The evaluation split serves two ends only: its copies leave the training pictures, and it is scored
    once, after training.
    """
    everything, test = read_faces(data)
    clean = without_copies(everything, test)
    report(f"{len(clean)} training pictures; dropped {dict(clean.dropped)}")
    found, found_test = align(clean, detector), align(test, detector)
    report(f"face found and aligned in {found} of {len(clean)}; {found_test} of {len(test)} for evaluation")
    votes = ferplus.read_votes(votes_file) if votes_file else None
    train, validation = split_validation(clean, validation_share, seed)
    facts: dict[str, object] = {
        "pictures": len(train),
        "validation_pictures": len(validation),
        "dropped": dict(clean.dropped),
        "aligned": found,
        "data_sha256": file_hash(data) if data.is_file() else None,
        "votes_sha256": file_hash(votes_file) if votes_file else None,
    }
    return Prepared(train, validation, test, votes, facts)
