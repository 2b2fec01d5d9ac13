"""The items that a model is calibrated on: a selection balanced over the classes, stored as hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.package import read_regular_file
from edgeharfer.runtime.strict_json import any_object, integer, list_of, load_json, mapping_of, record, text

Item = TypeVar("Item", bound=Hashable)

FORMAT = 1
DEFAULT_ITEMS = 500
"""Minimum size of a set if the data has that many items, as is usual in post-training quantization."""
_MAX_BYTES = 16 * 1024 * 1024


_hashes = list_of(text(r"[0-9a-f]{64}(@[0-9]{1,9})?", "a SHA-256, for clips with @frame"), 0, 1_000_000)


def _items(value: object, where: str) -> Mapping[str, tuple[str, ...]]:
    return mapping_of(tuple(any_object(value, where)), _hashes)(value, where)


@dataclass(frozen=True)
class CalibrationSet:
    """Hashes of the chosen items by class.

    Attributes:
        format: Version of the file format.
        task: Task of the model.
        input: Preprocessing of the pictures, as in the manifest.
        seed: Seed of the selection.
        items: Class to items. An item is the SHA-256 of a file; for clips, followed by `@` and the index of
            a frame, counted over the frames that the runtime would encode.
    """

    format: Annotated[int, integer(FORMAT, FORMAT)]
    task: Annotated[str, text("emotion|action", "emotion or action")]
    input: Annotated[Mapping[str, object], any_object]
    seed: Annotated[int, integer(0, 2**63)]
    items: Annotated[Mapping[str, tuple[str, ...]], _items]

    def __len__(self) -> int:
        return sum(map(len, self.items.values()))

    def dump(self) -> str:
        """Return the set as canonical JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, sort_keys=True) + "\n"

    @property
    def sha256(self) -> str:
        """SHA-256 of the JSON text, for receipts."""
        return hashlib.sha256(self.dump().encode()).hexdigest()

    def check(self, manifest: Manifest) -> None:
        """Check that the set fits a model.

        Raises:
            ConfigError: The set was made for another task or another preprocessing.
        """
        if self.task != manifest.task:
            raise ConfigError(
                f"the calibration set is for the task {self.task}, but the model is for {manifest.task}: "
                "create one for this model with `edgeharfer calibrate`"
            )
        if dict(self.input) != manifest.input.to_dict():
            raise ConfigError(
                "the calibration set was made for another image size or preprocessing: "
                "create one for this model with `edgeharfer calibrate`"
            )


def read_calibration_set(path: Path) -> CalibrationSet:
    """Read a set that `CalibrationSet.dump` wrote.

    Raises:
        ModelError: The file is not a calibration set.
    """
    return record(CalibrationSet)(load_json(read_regular_file(path, _MAX_BYTES), str(path)), str(path))


def take_balanced(groups: Mapping[str, Sequence[Item]], wanted: int) -> dict[str, list[Item]]:
    """Take the same number of items from each group, at least `wanted` in total if there are that many.

    Smaller groups are taken whole, and the larger ones share the rest equally.
    """
    largest = max(map(len, groups.values()), default=0)
    for quota in count(1):
        chosen = {label: list(items[:quota]) for label, items in groups.items()}
        if quota >= largest or sum(map(len, chosen.values())) >= wanted:
            return chosen
    raise AssertionError("count() does not end")


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """Return the items in an order that depends only on the seed."""
    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))]
