"""Pictures that stand in a data set more than once: the same pixels, or nearly the same."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats, Image

NEAR_DUPLICATE_CORRELATION = 0.995
"""Correlation of two 16x16 thumbnails from which two pictures count as one."""

_BLOCK = 2048


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """Where a picture stands in a data set."""

    name: str
    split: str
    label: str


@dataclass(frozen=True, slots=True)
class DuplicateImage:
    """A picture that repeats an earlier one: exactly, or nearly (other contrast or compression)."""

    entry: DatasetEntry
    of: DatasetEntry
    kind: Literal["exact", "near"]

    @property
    def conflict(self) -> bool:
        """Whether the two carry different labels."""
        return self.entry.label != self.of.label

    @property
    def across(self) -> bool:
        """Whether the two stand in different splits."""
        return self.entry.split != self.of.split


def find_duplicates(entries: Sequence[DatasetEntry], pictures: Image) -> list[DuplicateImage]:
    """Every picture that repeats an earlier one, in their order, each once: an exact copy before a near one.

    entries: what pictures[i] is. pictures: uint8 (n, height, width) or (n, height, width, 3).
    """
    groups = group_identical(pictures)
    found = {
        i: DuplicateImage(entries[i], entries[first], "exact") for first, *others in groups for i in others
    }  # fmt: skip
    firsts = [group[0] for group in groups]
    before, similarity = _most_similar_earlier(thumbnails(pictures[firsts]))
    for i, j, alike in zip(firsts, before, similarity, strict=True):
        if alike >= NEAR_DUPLICATE_CORRELATION:
            found[i] = DuplicateImage(entries[i], entries[firsts[j]], "near")
    return [found[i] for i in sorted(found)]


def group_identical(pictures: Image) -> list[list[int]]:
    """Indices of equal pictures, in the order in which each first stands; most groups hold one."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        groups[hashlib.sha256(picture.tobytes()).digest()].append(i)
    return list(groups.values())


def most_similar(ours: Floats, theirs: Floats) -> tuple[NDArray[np.int64], Floats]:
    """For each of our thumbnails the index of the likest of theirs, and how alike they are (up to 1)."""
    parts = [_best(ours[i : i + _BLOCK] @ theirs.T) for i in range(0, len(ours), _BLOCK)]
    return _concatenate(parts)


def _most_similar_earlier(thumbs: Floats) -> tuple[NDArray[np.int64], Floats]:
    """As `most_similar`, but each is held against those before it alone."""
    parts = []
    for start in range(0, len(thumbs), _BLOCK):
        block = thumbs[start : start + _BLOCK]
        similarity = block @ thumbs[: start + len(block)].T
        similarity[:, start:][np.triu_indices(len(block))] = -1
        parts.append(_best(similarity))
    return _concatenate(parts)


def _best(similarity: Floats) -> tuple[NDArray[np.int64], Floats]:
    index = similarity.argmax(axis=1)
    return index, similarity[np.arange(len(similarity)), index]


def _concatenate(parts: Sequence[tuple[NDArray[np.int64], Floats]]) -> tuple[NDArray[np.int64], Floats]:
    none = (np.empty(0, np.int64), np.empty(0, np.float32))
    index, similarity = zip(none, *parts, strict=True)
    return np.concatenate(index), np.concatenate(similarity)


def thumbnails(pictures: Image) -> Floats:
    """Unit vectors (n, 256) whose dot product is the correlation of two pictures' grey 16x16 thumbnails."""
    small = [cv2.resize(_gray(picture), (16, 16), interpolation=cv2.INTER_AREA) for picture in pictures]
    flat = np.array(small, np.float32).reshape(len(small), 16 * 16)
    flat -= flat.mean(axis=1, keepdims=True)
    unit: Floats = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit


def _gray(picture: Image) -> Image:
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
