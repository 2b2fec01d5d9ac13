"""Which items a model is calibrated on: a choice balanced over the classes, kept as hashes and no more."""

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
from edgeharfer.runtime.inference.package import read_regular
from edgeharfer.runtime.strict_json import free_object, list_of, load_json, mapping_of, record, text, whole

Item = TypeVar("Item", bound=Hashable)

FORMAT = 1
DEFAULT_ITEMS = 500
"""Items of a set, where there are as many: what the literature on post-training quantization calls enough."""
_MAX_BYTES = 16 * 1024 * 1024


_hashes = list_of(text(r"[0-9a-f]{64}(@[0-9]{1,9})?", "a SHA-256, for clips with @frame"), 0, 1_000_000)


def _items(value: object, where: str) -> Mapping[str, tuple[str, ...]]:
    return mapping_of(tuple(free_object(value, where)), _hashes)(value, where)


@dataclass(frozen=True)
class CalibrationSet:
    """Hashes of the chosen items by class.

    An item is the SHA-256 of a file; for clips with `@` and the number of the frame, counted over those
    that the runtime would encode. input: how the pictures were prepared, as in the manifest.
    """

    format: Annotated[int, whole(FORMAT, FORMAT)]
    task: Annotated[str, text("emotion|action", "emotion or action")]
    input: Annotated[Mapping[str, object], free_object]
    seed: Annotated[int, whole(0, 2**63)]
    items: Annotated[Mapping[str, tuple[str, ...]], _items]

    def __len__(self) -> int:
        return sum(map(len, self.items.values()))

    def dump(self) -> str:
        """Canonical JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, sort_keys=True) + "\n"

    @property
    def sha256(self) -> str:
        """Hash of the set, for receipts."""
        return hashlib.sha256(self.dump().encode()).hexdigest()

    def check(self, manifest: Manifest) -> None:
        """Raises ConfigError where the set was made for a model that prepares its pictures otherwise."""
        if self.task != manifest.task:
            raise ConfigError(
                f"the calibration set is one for the task {self.task}, the model is for {manifest.task}"
            )
        if dict(self.input) != asdict(manifest.input):
            raise ConfigError("the calibration set was made for another size or preparation of the pictures")


def read_calibration_set(path: Path) -> CalibrationSet:
    """A set as `dump` wrote it. Raises ModelError for anything else."""
    return record(CalibrationSet)(load_json(read_regular(path, _MAX_BYTES), str(path)), str(path))


def take_balanced(groups: Mapping[str, Sequence[Item]], wanted: int) -> dict[str, list[Item]]:
    """The first items of each group, as many of each as there can be, at least `wanted` together.

    A group that is short is made up for by the others, all alike.
    """
    largest = max(map(len, groups.values()), default=0)
    for quota in count(1):
        chosen = {label: list(items[:quota]) for label, items in groups.items()}
        if quota >= largest or sum(map(len, chosen.values())) >= wanted:
            return chosen
    raise AssertionError("count() does not end")


def shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    """The same items in an order that only the seed decides."""
    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))]
