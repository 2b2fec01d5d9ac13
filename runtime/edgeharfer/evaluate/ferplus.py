"""FER+ votes: ten people's labels for each FER-2013 picture (Barsoum et al. 2016, arXiv:1608.01041)."""

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
"""Our order of the eight classes: FER-2013's seven, then contempt."""
MIN_AGREEMENT = 0.4
"""The majority is FER-2013's own label in 68 % of the pictures; joined one row off, in 18 %."""
MIN_COMPARED = 100

_TO_LABEL = {"anger": "angry", "happiness": "happy", "sadness": "sad"}
_ORDER = [LABELS.index(_TO_LABEL.get(name, name)) for name in VOTE_COLUMNS[:8]]


def read_votes(path: Path) -> dict[str, Floats]:
    """Votes by picture name: float32 (10,), the eight of LABELS, then "unknown" and "not a face"."""
    votes: dict[str, Floats] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["Image name"]:
                    votes[row["Image name"]] = _votes(row)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SourceError(f"{path}: not a FER+ table (Usage,Image name,neutral,...,NF): {error}") from error
    if not votes:
        raise SourceError(f"{path}: a FER+ table without a row")
    return votes


def _votes(row: Mapping[str, str]) -> Floats:
    counts = np.zeros(10, np.float32)
    counts[_ORDER] = [float(row[name]) for name in VOTE_COLUMNS[:8]]
    counts[8:] = float(row["unknown"]), float(row["NF"])
    return counts


def drop_single_votes(votes: Floats) -> Floats:
    """Single votes dropped as slips, as FER+'s own training does."""
    return np.where(votes > 1, votes, 0).astype(np.float32)


def check_agreement(pairs: Iterable[tuple[int | None, str]]) -> float | None:
    """Share of the pictures whose majority is their own label; None where too few have one to tell.

    pairs: index of the majority into LABELS or None, and the picture's label in canonical form. In the
    published table names count only some of the rows, so that pictures named by row get others' votes.
    Raises SourceError for votes that belong to other pictures of the same names.
    """
    told = [LABELS[voted] == label for voted, label in pairs if voted is not None]
    if len(told) < MIN_COMPARED:
        return None
    agreement = sum(told) / len(told)
    if agreement < MIN_AGREEMENT:
        raise SourceError(
            f"the FER+ votes agree with {agreement:.0%} of the labels, where the right ones agree with 68 %: "
            "they belong to other pictures of the same names; name these by the FER+ table itself: "
            "edgeharfer prepare fer2013.csv --ferplus CSV --out DIR"
        )
    return agreement


def majority(votes: Floats) -> int | None:
    """The class with over half of the votes that remain without single ones; None: no majority or no face."""
    kept = drop_single_votes(votes)
    best = int(kept.argmax())
    return best if best < len(LABELS) and kept[best] > kept.sum() / 2 else None


def distribution(votes: Floats) -> Floats:
    """Shares of the eight classes, (8,), without single votes; all zero where unknown or no face leads."""
    kept = drop_single_votes(votes)
    if int(kept.argmax()) >= len(LABELS) or not kept[:8].sum():
        return np.zeros(8, np.float32)
    shares: Floats = kept[:8] / kept[:8].sum()
    return shares
