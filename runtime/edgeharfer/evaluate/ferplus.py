"""FER+ votes: labels of ten annotators for each FER-2013 picture (Barsoum et al. 2016, arXiv:1608.01041)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.types import Floats

VOTE_COLUMNS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")
"""Class order of the package: the seven classes of FER-2013, then contempt."""
MIN_AGREEMENT = 0.4
"""The majority equals the FER-2013 label in 68 % of the pictures; in 18 % if rows are shifted by one."""
MIN_COMPARED = 100

_TO_LABEL = {"anger": "angry", "happiness": "happy", "sadness": "sad"}
_ORDER = [LABELS.index(_TO_LABEL.get(name, name)) for name in VOTE_COLUMNS[:8]]


def read_votes(path: Path) -> dict[str, Floats]:
    """Read a FER+ table.

    Returns:
        Votes by picture name, float32 (10,): the eight LABELS, then "unknown" and "not a face".

    Raises:
        SourceError: The file cannot be read or is not a FER+ table.
    """
    votes: dict[str, Floats] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["Image name"]:
                    votes[row["Image name"]] = _votes(row)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SourceError(f"{path}: not a FER+ table (Usage,Image name,neutral,...,NF): {error}") from error
    if not votes:
        raise SourceError(f"{path}: the FER+ table has no rows")
    return votes


def _votes(row: Mapping[str, str]) -> Floats:
    counts = np.zeros(10, np.float32)
    counts[_ORDER] = [float(row[name]) for name in VOTE_COLUMNS[:8]]
    counts[8:] = float(row["unknown"]), float(row["NF"])
    return counts


def drop_single_votes(votes: Floats) -> Floats:
    """Set single votes to zero as outliers, as the FER+ training code does."""
    return np.where(votes > 1, votes, 0).astype(np.float32)


def check_agreement(pairs: Iterable[tuple[int | None, str]]) -> float | None:
    """Check that the votes belong to the labelled pictures.

    The picture names of the published table number only some of its rows, so pictures that are named by
    row would get the votes of others.

    Args:
        pairs: Index of the majority into LABELS or None, and the picture's label in canonical form.

    Returns:
        Share of the pictures whose majority equals their label; None with fewer than MIN_COMPARED pictures.

    Raises:
        SourceError: The share is below MIN_AGREEMENT.
    """
    matches = [LABELS[voted] == label for voted, label in pairs if voted is not None]
    if len(matches) < MIN_COMPARED:
        return None
    agreement = sum(matches) / len(matches)
    if agreement < MIN_AGREEMENT:
        raise SourceError(
            f"the FER+ votes agree with only {agreement:.0%} of the labels (68 % expected): they belong to "
            "other images with the same names; name the images as in the FER+ table: "
            "edgeharfer prepare fer2013.csv --ferplus CSV --out DIR"
        )
    return agreement


def majority(votes: Floats) -> int | None:
    """Index of the class with more than half of the votes, without single votes.

    None if there is no majority, or if it is "unknown" or "not a face".
    """
    kept = drop_single_votes(votes)
    best = int(kept.argmax())
    return best if best < len(LABELS) and kept[best] > kept.sum() / 2 else None


def distribution(votes: Floats) -> Floats:
    """Shares of the eight classes, (8,), without single votes.

    All zero if "unknown" or "not a face" has the most votes.
    """
    kept = drop_single_votes(votes)
    if int(kept.argmax()) >= len(LABELS) or not kept[:8].sum():
        return np.zeros(8, np.float32)
    shares: Floats = kept[:8] / kept[:8].sum()
    return shares
