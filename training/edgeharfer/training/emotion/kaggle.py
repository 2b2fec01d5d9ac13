"""Kaggle's fer2013.csv: one face per row with emotion (0 to 6), 48x48 pixel values and Usage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.types import Image
from edgeharfer.training.tables import read_table

FER7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER-2013's classes, in the order of its CSV."""

SIDE = 48
SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
"""Value of Usage -> name of the split."""

_FILE = re.compile(r"\w[\w-]*\.png", re.ASCII)


@dataclass(frozen=True, slots=True)
class KaggleRow:
    """One face of the CSV.

    Attributes:
        name: Name of its image file.
        split: "train", "val" or "test".
        label: Index into FER7.
        picture: uint8 (48, 48).
    """

    name: str
    split: str
    label: int
    picture: Image


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row without a valid face.

    Attributes:
        line: Line number.
        split: Split of the row; "train" if its Usage is invalid.
        reason: What is wrong.
    """

    line: int
    split: str
    reason: str


def read_rows(path: Path, ferplus: Path | None = None) -> tuple[list[KaggleRow], list[InvalidRow]]:
    """Read the faces of the CSV.

    Images are named by row number, from fer0000000.png on.

    Args:
        path: fer2013.csv.
        ferplus: FER+ table whose names are used instead (see `names_by_row`), so that both join by name.

    Returns:
        The valid and the invalid rows.

    Raises:
        SourceError: A file is missing, lacks columns, or the FER+ table belongs to other data.
    """
    rows, bad, usages = [], [], []
    names = None if ferplus is None else names_by_row(ferplus)
    table = read_table(path, ("emotion", "pixels", "Usage"), "FER-2013's csv")
    for number, (line, record) in enumerate(with_progress(table, f"reading {path.name}")):
        usages.append(record["Usage"])
        name = f"fer{number:07d}.png" if names is None or number >= len(names) else names[number][1]
        try:
            rows.append(_parse_row(name, record))
        except (ValueError, OverflowError) as error:
            bad.append(InvalidRow(line, SPLITS.get(record["Usage"], "train"), str(error)))
    if names is not None and not _same_usages(usages, [usage for usage, _ in names]):
        raise SourceError(
            f"{ferplus}: its {len(names)} rows do not match those of {path} ({len(usages)} rows): "
            "use the complete FER+ table for this CSV"
        )
    return rows, bad


def _same_usages(usages: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two tables have the same Usage in every row, ignoring damaged cells of the first."""
    return len(usages) == len(others) and all(
        one == other for one, other in zip(usages, others, strict=True) if one in SPLITS
    )


def names_by_row(table: Path) -> list[tuple[str, str]] | None:
    """Read Usage and image name of each row of a FER+ table.

    The published table has one row per row of Kaggle's CSV. Some rows have no name and its numbering skips
    some of them, so from row 60 on an image's number is lower than its row's. Rows without a name get one
    that no FER+ table uses: fer9 and the row number.

    Returns:
        Usage and name by row; None if every row has a name, since images are then numbered by row.

    Raises:
        SourceError: A name is repeated or is not a plain PNG file name.
    """
    columns = ("Usage", "Image name")
    rows = [(row["Usage"], row["Image name"]) for _, row in read_table(table, columns, "a FER+ table")]
    named = [name for _, name in rows if name]
    if len(named) == len(rows):
        return None
    if invalid := [name for name in named if not _FILE.fullmatch(name)]:
        raise SourceError(f"{table}: {invalid[0][:60]!r} is not a valid image name: expected ferNNNNNNN.png")
    if len(set(named)) < len(named):
        raise SourceError(f"{table}: repeated image name: use the FER+ table as published")
    return [(usage, name or f"fer9{number:06d}.png") for number, (usage, name) in enumerate(rows)]


def _parse_row(name: str, record: Mapping[str, str]) -> KaggleRow:
    """Parse a row of the CSV.

    Raises:
        ValueError: A value is invalid; the message says which.
        OverflowError: A pixel value is out of range.
    """
    if record["Usage"] not in SPLITS:
        raise ValueError(f"Usage is {record['Usage'][:40]!r}, not one of {', '.join(SPLITS)}")
    if record["emotion"] not in map(str, range(len(FER7))):
        raise ValueError(f"emotion is {record['emotion'][:40]!r}, not 0 to 6")
    values = record["pixels"].split()
    if len(values) != SIDE * SIDE:
        raise ValueError(f"{len(values)} pixel values instead of {SIDE * SIDE}")
    picture = np.array(values, np.uint8).reshape(SIDE, SIDE)
    return KaggleRow(name, SPLITS[record["Usage"]], int(record["emotion"]), picture)
