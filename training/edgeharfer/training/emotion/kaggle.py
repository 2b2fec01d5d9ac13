"""Kaggle's fer2013.csv: a face a row, as emotion (0 to 6), 48x48 pixel values, and Usage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.types import Image
from edgeharfer.training.tables import read_table

FER7 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER-2013's classes, in the order of its csv."""

SIDE = 48
SPLITS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
"""Usage -> the folder that it becomes."""

_FILE = re.compile(r"\w[\w-]*\.png", re.ASCII)


@dataclass(frozen=True, slots=True)
class KaggleRow:
    """One face. name: the file that it becomes. label: index into FER7. picture: uint8 (48, 48)."""

    name: str
    split: str
    label: int
    picture: Image


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that holds no face: where it stands and what is wrong. split: train, if Usage is what is."""

    line: int
    split: str
    reason: str


def read_rows(path: Path, ferplus: Path | None = None) -> tuple[list[KaggleRow], list[InvalidRow]]:
    """The faces of the table, and the rows that are damaged.

    A picture is named by its row's number, fer0000000.png and on. ferplus: a FER+ table that names them
    otherwise (see `names_by_row`); the two then join by name.
    Raises SourceError: no such file, other columns, or a FER+ table that goes with another one.
    """
    rows, bad, usages = [], [], []
    names = None if ferplus is None else names_by_row(ferplus)
    table = read_table(path, ("emotion", "pixels", "Usage"), "FER-2013's csv")
    for number, (line, record) in enumerate(table):
        usages.append(record["Usage"])
        name = f"fer{number:07d}.png" if names is None or number >= len(names) else names[number][1]
        try:
            rows.append(_parse_row(name, record))
        except (ValueError, OverflowError) as error:
            bad.append(InvalidRow(line, SPLITS.get(record["Usage"], "train"), str(error)))
    if names is not None and not _same_usages(usages, [usage for usage, _ in names]):
        raise SourceError(
            f"{ferplus}: its {len(names)} rows are not those of {path} ({len(usages)} rows): "
            "give the FER+ table that belongs to it, both of them whole"
        )
    return rows, bad


def _same_usages(usages: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two tables are of one make; a damaged cell of the first does not count."""
    return len(usages) == len(others) and all(
        one == other for one, other in zip(usages, others, strict=True) if one in SPLITS
    )


def names_by_row(table: Path) -> list[tuple[str, str]] | None:
    """Usage and picture name for each row of a FER+ table, or None where the names are row numbers.

    The published table has a row for each row of Kaggle's. Some have no name, and its numbers do not count
    all of these, so from row 60 on a picture's number is less than its row's. Tables without such rows
    number the pictures by row. Pictures without a name get one that no FER+ table has, fer9 and the row.
    Raises SourceError for a name that stands twice or is no plain name of a PNG file.
    """
    columns = ("Usage", "Image name")
    rows = [(row["Usage"], row["Image name"]) for _, row in read_table(table, columns, "a FER+ table")]
    named = [name for _, name in rows if name]
    if len(named) == len(rows):
        return None
    if odd := [name for name in named if not _FILE.fullmatch(name)]:
        raise SourceError(f"{table}: {odd[0][:60]!r} is no name for a picture: wanted ferNNNNNNN.png")
    if len(set(named)) < len(named):
        raise SourceError(f"{table}: a picture's name stands twice: take the table as published")
    return [(usage, name or f"fer9{number:06d}.png") for number, (usage, name) in enumerate(rows)]


def _parse_row(name: str, record: Mapping[str, str]) -> KaggleRow:
    """Raises ValueError or OverflowError that say what is wrong."""
    if record["Usage"] not in SPLITS:
        raise ValueError(f"Usage is {record['Usage'][:40]!r}, not one of {', '.join(SPLITS)}")
    if record["emotion"] not in map(str, range(len(FER7))):
        raise ValueError(f"emotion is {record['emotion'][:40]!r}, not 0 to 6")
    values = record["pixels"].split()
    if len(values) != SIDE * SIDE:
        raise ValueError(f"{len(values)} pixel values instead of {SIDE * SIDE}")
    picture = np.array(values, np.uint8).reshape(SIDE, SIDE)
    return KaggleRow(name, SPLITS[record["Usage"]], int(record["emotion"]), picture)
