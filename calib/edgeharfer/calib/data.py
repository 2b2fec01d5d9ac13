"""Labelled data in the form that one model reads, for calibration and for evaluation."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeharfer.calib.calibration_set import FORMAT, CalibrationSet, shuffled
from edgeharfer.evaluate.dataset import TRAIN_SPLITS, Dataset, LabelledFile, match_labels
from edgeharfer.runtime.errors import ConfigError, SourceError
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.preprocess import normalize_images
from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.types import Floats, Image

BATCH = 8
"""Number of pictures in one run of a graph."""

Rows = NDArray[np.int64]
Pair = tuple[LabelledFile, int]
"""A file and the index of its class."""


@dataclass(frozen=True, eq=False)
class CalibrationData:
    """Data that a model is calibrated on.

    Attributes:
        chosen: The set as hashes.
        pictures: Items of the set, uint8 (n, height, width, channels) in the model's size and colours.
        windows: For clips, whole windows, uint8 (m, frames, height, width, channels).
    """

    chosen: CalibrationSet
    pictures: Image
    windows: Image | None = None


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """Data that a quantized model is evaluated on.

    Attributes:
        pictures: Pictures or frames, uint8 (n, height, width, channels).
        truth: Class index of each picture or clip.
        hashes: SHA-256 of the files.
        windows: For clips, the rows of `pictures` that form each window, (m, frames).
        owners: For clips, the index of the clip of each window, (m,).
    """

    pictures: Image
    truth: Rows
    hashes: frozenset[str]
    windows: Rows | None = None
    owners: Rows | None = None


def floats(pictures: Image, manifest: Manifest) -> Floats:
    """Normalize pictures to the graph's input."""
    return normalize_images(pictures, manifest.input)


def batches(pictures: Image, manifest: Manifest) -> Iterator[Floats]:
    """Yield the normalized pictures in small batches."""
    for at in range(0, len(pictures), BATCH):
        yield floats(np.asarray(pictures[at : at + BATCH]), manifest)


class CalibrationSource(ABC):
    """A data set in the form that one model reads.

    Its methods raise SourceError if the data has nothing for that model.
    """

    def __init__(self, manifest: Manifest, data: Dataset) -> None:
        self.manifest = manifest
        self.data = data

    def calibration(self, wanted: int, seed: int, split: str | None = None) -> CalibrationData:
        """Choose at least `wanted` items of a split, balanced over the classes.

        Args:
            wanted: Minimum number of items, if the split has that many.
            seed: Seed of the selection.
            split: Name of the split; the training split if None.
        """
        by_label: dict[str, list[LabelledFile]] = defaultdict(list)
        for sample, label in self.labelled(self.training_split() if split is None else split):
            by_label[self.manifest.labels[label]].append(sample)
        return self.choose(
            {label: shuffled(samples, seed) for label, samples in sorted(by_label.items())}, wanted, seed
        )

    def stored_calibration(self, wanted: CalibrationSet) -> CalibrationData:
        """Read the items of a stored set, which are found by their hashes.

        Raises:
            ConfigError: The set is for another model, or the data does not have all of its files.
        """
        wanted.check(self.manifest)
        files = {item.partition("@")[0] for items in wanted.items.values() for item in items}
        found: dict[str, LabelledFile] = {}
        for sample in with_progress(self.data.samples, "hashing files"):
            found.setdefault(self.digest(sample), sample)
        if missing := files - set(found):
            raise ConfigError(
                f"{self.data.path}: {len(missing)} of the calibration set's {len(files)} files are missing"
            )
        return self.read_calibration(wanted, found)

    def evaluation(self, scratch: Path, split: str | None = None) -> EvaluationData:
        """Read a split for evaluation.

        Args:
            scratch: Folder for the frames of clips; it must exist as long as the result is used.
            split: Name of the split; the test split if None.
        """
        return self.read_evaluation(
            self.labelled(self.data.test_split() if split is None else split), scratch
        )

    def training_split(self) -> str:
        """Return the name of the training split, or of the only split."""
        splits = self.data.splits
        found = [split for split in splits if split.lower() in TRAIN_SPLITS]
        if not found and len(splits) > 1:
            raise SourceError(
                f"{self.data.path}: no training split to calibrate on, only {', '.join(splits)}"
            )
        return (found or splits)[0]

    def labelled(self, split: str) -> list[Pair]:
        """Return the samples of a split that belong to the model's classes."""
        pairs = self.pairs(self.data.split(split))
        if not pairs:
            known = ", ".join(self.manifest.labels)
            raise SourceError(f"{self.data.path}: none of its classes is a class of the model: {known}")
        return pairs

    def pairs(self, samples: Sequence[LabelledFile]) -> list[Pair]:
        """Return samples with their class indices, without samples of other classes."""
        return match_labels(samples, self.manifest.labels)[0]

    def digest(self, sample: LabelledFile) -> str:
        """Return the SHA-256 of a file."""
        return hashlib.sha256(self.data.read(sample)).hexdigest()

    def new_set(self, chosen: Mapping[str, Sequence[str]], seed: int) -> CalibrationSet:
        """Create a set from the hashes of each class."""
        items = {label: tuple(hashes) for label, hashes in sorted(chosen.items())}
        return CalibrationSet(FORMAT, self.manifest.task, self.manifest.input.to_dict(), seed, items)

    def stack(self, pictures: Sequence[Image]) -> Image:
        """Stack pictures into one array.

        Raises:
            SourceError: There are none.
        """
        if not pictures:
            raise SourceError(f"{self.data.path}: none of its images can be read")
        return np.stack(pictures)

    @abstractmethod
    def choose(self, groups: Mapping[str, Sequence[LabelledFile]], wanted: int, seed: int) -> CalibrationData:
        """Choose and read items from the samples of each class, in the given order."""

    @abstractmethod
    def read_calibration(self, wanted: CalibrationSet, found: Mapping[str, LabelledFile]) -> CalibrationData:
        """Read the items of a set from the files that were found by their hashes."""

    @abstractmethod
    def read_evaluation(self, pairs: Sequence[Pair], scratch: Path) -> EvaluationData:
        """Read all of these samples whole."""
