"""Labelled data as one model sees it: what it is calibrated on, and what it is evaluated on."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.calib.calibration_set import FORMAT, CalibrationSet, shuffled
from edgeharfer.evaluate.dataset import TRAIN_SPLITS, Dataset, LabelledFile, match_labels
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.preprocess import normalize
from edgeharfer.runtime.types import Floats, Image

_BATCH = 8

Rows = NDArray[np.int64]
Pair = tuple[LabelledFile, int]
"""A file and the number of its class."""


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """What a model is calibrated on.

    pictures: the items of the set, uint8 (n, height, width, c) in the model's size and colours.
    windows: of clips, uint8 (m, frames, height, width, c).
    """

    chosen: CalibrationSet
    pictures: Image
    windows: Image | None = None


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """What a quantized model is evaluated on.

    pictures: uint8 (n, height, width, c). truth: class of each picture or clip. For clips `windows`
    holds the rows of each window, (m, frames), and `owners` the clip of each, (m,). hashes: of the files.
    """

    pictures: Image
    truth: Rows
    hashes: frozenset[str]
    windows: Rows | None = None
    owners: Rows | None = None


def floats(pictures: Image, manifest: Manifest) -> Floats:
    """Pictures as the graph takes them: what `prepare` gives for the originals."""
    return normalize(pictures.astype(np.float32), manifest.input.normalize)


def batches(pictures: Image, manifest: Manifest) -> Iterator[Floats]:
    """Pictures as the graph takes them, a few at a time."""
    for at in range(0, len(pictures), _BATCH):
        yield floats(np.asarray(pictures[at : at + _BATCH]), manifest)


class CalibrationSource(ABC):
    """A data set before one model. Raises SourceError where it has nothing for that model."""

    def __init__(self, manifest: Manifest, data: Dataset) -> None:
        self.manifest = manifest
        self.data = data

    def calibration(self, wanted: int, seed: int, split: str | None = None) -> CalibrationData:
        """A fresh choice of the training split, balanced over the classes, of at least `wanted` items."""
        by_label: dict[str, list[LabelledFile]] = defaultdict(list)
        for sample, label in self.labelled(self.training_split() if split is None else split):
            by_label[self.manifest.labels[label]].append(sample)
        return self.choose(
            {label: shuffled(samples, seed) for label, samples in sorted(by_label.items())}, wanted, seed
        )

    def stored_calibration(self, wanted: CalibrationSet) -> CalibrationData:
        """The items of a stored set, found by their hashes. Raises ConfigError where one is missing."""
        wanted.check(self.manifest)
        files = {item.partition("@")[0] for items in wanted.items.values() for item in items}
        found: dict[str, LabelledFile] = {}
        for sample in self.data.samples:
            found.setdefault(self.digest(sample), sample)
        if missing := files - set(found):
            raise ConfigError(
                f"{self.data.path}: lacks {len(missing)} of the {len(files)} files of the calibration set"
            )
        return self.read_calibration(wanted, found)

    def evaluation(self, scratch: Path, split: str | None = None) -> EvaluationData:
        """The split for testing. Frames of clips lie in a file in `scratch`, which outlives the result."""
        return self.read_evaluation(
            self.labelled(self.data.test_split() if split is None else split), scratch
        )

    def training_split(self) -> str:
        """The split that may be learned from, or the only one."""
        splits = self.data.splits
        found = [split for split in splits if split.lower() in TRAIN_SPLITS]
        if not found and len(splits) > 1:
            raise SourceError(
                f"{self.data.path}: no training split to calibrate on, only {', '.join(splits)}"
            )
        return (found or splits)[0]

    def labelled(self, split: str) -> list[Pair]:
        """The samples of a split that are of the model's classes."""
        pairs = self.pairs(self.data.split(split))
        if not pairs:
            known = ", ".join(self.manifest.labels)
            raise SourceError(f"{self.data.path}: none of its classes is one of the model's: {known}")
        return pairs

    def pairs(self, samples: Sequence[LabelledFile]) -> list[Pair]:
        """Samples with their classes; those of other classes are left out."""
        return match_labels(samples, self.manifest.labels)[0]

    def digest(self, sample: LabelledFile) -> str:
        """SHA-256 of a file."""
        return hashlib.sha256(self.data.read(sample)).hexdigest()

    def new_set(self, chosen: Mapping[str, Sequence[str]], seed: int) -> CalibrationSet:
        """A set of the hashes of each class."""
        items = {label: tuple(hashes) for label, hashes in sorted(chosen.items())}
        return CalibrationSet(FORMAT, self.manifest.task, asdict(self.manifest.input), seed, items)

    def stack(self, pictures: Sequence[Image]) -> Image:
        """All pictures in one array. Raises SourceError where there is none."""
        if not pictures:
            raise SourceError(f"{self.data.path}: none of its pictures can be read")
        return np.stack(pictures)

    @abstractmethod
    def choose(self, groups: Mapping[str, Sequence[LabelledFile]], wanted: int, seed: int) -> CalibrationData:
        """From the samples of each class, in the order in which they are to be taken."""

    @abstractmethod
    def read_calibration(self, wanted: CalibrationSet, found: Mapping[str, LabelledFile]) -> CalibrationData:
        """The items of a set, whose files were found under their hashes."""

    @abstractmethod
    def read_evaluation(self, pairs: Sequence[Pair], scratch: Path) -> EvaluationData:
        """All of these, whole."""
