"""The table of how often emotions occur with activities, as written by `edgeharfer train context`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.config import read_limited
from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.strict_json import (
    any_object,
    choice,
    integer,
    list_of,
    load_json,
    number,
    record,
    text,
)

FORMAT = 1
MAX_BYTES = 4 * 2**20
MAX_EMOTIONS, MAX_ACTIONS = 64, 2000
RELATIONS = ("joint", "independent", "assumed")

_NAME = text(r"[^\x00-\x1f\x7f]{1,80}", "a name of 1 to 80 characters")


@dataclass(frozen=True)
class ContextTable:
    """Co-occurrence counts of emotions and activities.

    Attributes:
        emotions: Names of the rows.
        actions: Names of the columns.
        counts: (emotions, activities), float64.
        smoothing: Added to every count, so that no combination has probability zero.
        relation: "joint" if both were observed for the same person, "independent" if they come from
            separate data, "assumed" for estimates such as those of the shipped table.
    """

    emotions: tuple[str, ...]
    actions: tuple[str, ...]
    counts: NDArray[np.float64]
    smoothing: float
    relation: str

    @property
    def joint(self) -> NDArray[np.float64]:
        """P(emotion, activity), shape (emotions, activities); sums to 1."""
        smoothed = self.counts + self.smoothing
        shares: NDArray[np.float64] = smoothed / smoothed.sum()
        return shares


def _relation(value: object, where: str) -> str:
    """Read the relation; the other entries of the source are documentation."""
    return choice(*RELATIONS)(any_object(value, where).get("relation"), f"{where}.relation")


_counts = list_of(list_of(number(0, 1e12), 1, MAX_ACTIONS), 1, MAX_EMOTIONS)


@dataclass(frozen=True)
class _File:
    format: Annotated[int, integer(FORMAT, FORMAT)]
    emotions: Annotated[tuple[str, ...], list_of(_NAME, 1, MAX_EMOTIONS)]
    actions: Annotated[tuple[str, ...], list_of(_NAME, 1, MAX_ACTIONS)]
    counts: Annotated[tuple[tuple[float, ...], ...], _counts]
    smoothing: Annotated[float, number(0, 1e6)]
    source: Annotated[str, _relation]


def read_table(path: Path | None = None) -> ContextTable:
    """Read a context table.

    Args:
        path: A JSON file; None for the shipped table.

    Raises:
        ConfigError: The file cannot be read, has another layout or holds no counts.
    """
    if path is None:
        data, where = resources.files(__package__).joinpath("context.json").read_bytes(), "context.json"
    else:
        data, where = read_limited(path, MAX_BYTES, "pass a JSON file to --context"), str(path)
    try:
        file = record(_File)(load_json(data, where), where)
    except ModelError as error:
        raise ConfigError(f"{error}; create the file with: edgeharfer train context") from error
    return _table(file, where)


def _table(file: _File, where: str) -> ContextTable:
    counts = [len(row) for row in file.counts]
    if counts != [len(file.actions)] * len(file.emotions):
        raise ConfigError(f"{where}: counts: must have one row per emotion and one column per action")
    for what, names in (("emotions", file.emotions), ("actions", file.actions)):
        if len(set(names)) != len(names):
            raise ConfigError(f"{where}: {what}: contains a duplicate name")
    table = np.array(file.counts, np.float64)
    if table.sum() + file.smoothing <= 0:
        raise ConfigError(f"{where}: counts: all are zero")
    return ContextTable(file.emotions, file.actions, table, file.smoothing, file.source)
