"""Exact and near-duplicate images in a data set."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.progress import with_progress
from edgeharfer.runtime.types import Floats, Image

NEAR_DUPLICATE_CORRELATION = 0.995
"""Minimum correlation of two 16x16 grey thumbnails for their images to count as duplicates."""

_BLOCK = 2048


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """An image's name, split and label in a data set."""

    name: str
    split: str
    label: str


@dataclass(frozen=True, slots=True)
class DuplicateImage:
    """An image that repeats an earlier one.

    Attributes:
        entry: The repeated image.
        of: The earlier image that it repeats.
        kind: "exact" for identical pixels, "near" for different contrast or compression.
    """

    entry: DatasetEntry
    of: DatasetEntry
    kind: Literal["exact", "near"]

    @property
    def conflict(self) -> bool:
        """Whether the two images have different labels."""
        return self.entry.label != self.of.label

    @property
    def across(self) -> bool:
        """Whether the two images are in different splits."""
        return self.entry.split != self.of.split


def find_duplicates(entries: Sequence[DatasetEntry], pictures: Image) -> list[DuplicateImage]:
    """Find every image that repeats an earlier one.

    Args:
        entries: Name, split and label of each image.
        pictures: uint8 (n, height, width) or (n, height, width, 3), in the order of `entries`.

    Returns:
        One item per repeated image, in input order. An image that is both an exact and a near duplicate is
        listed as exact.
    """
    groups = group_identical(pictures)
    found = {
        i: DuplicateImage(entries[i], entries[first], "exact") for first, *others in groups for i in others
    }  # fmt: skip
    firsts = [group[0] for group in groups]
    before, similarity = _most_similar_earlier(thumbnails(pictures[firsts]))
    for i, j, correlation in zip(firsts, before, similarity, strict=True):
        if correlation >= NEAR_DUPLICATE_CORRELATION:
            found[i] = DuplicateImage(entries[i], entries[firsts[j]], "near")
    return [found[i] for i in sorted(found)]


def group_identical(pictures: Image) -> list[list[int]]:
    """Group the indices of images with identical pixels, ordered by first occurrence."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        groups[hashlib.sha256(picture.tobytes()).digest()].append(i)
    return list(groups.values())


def most_similar(ours: Floats, theirs: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Find the most similar reference for each query.

    Args:
        ours: Query thumbnails from `thumbnails`, (n, 256).
        theirs: Reference thumbnails, (m, 256).

    Returns:
        The index of the most similar reference and its correlation (at most 1) for each query, both (n,).
    """
    starts = with_progress(range(0, len(ours), _BLOCK), "finding duplicates")
    parts = [_best(ours[i : i + _BLOCK] @ theirs.T) for i in starts]
    return _concatenate(parts)


def _most_similar_earlier(thumbs: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Like `most_similar`, comparing each thumbnail only with those before it."""
    parts = []
    for start in with_progress(range(0, len(thumbs), _BLOCK), "finding duplicates"):
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
    """Reduce images to vectors whose dot product is the correlation of their 16x16 grey thumbnails.

    Args:
        pictures: uint8 (n, height, width) or (n, height, width, 3) BGR.

    Returns:
        Zero-mean unit vectors, float32 (n, 256).
    """
    small = [cv2.resize(_gray(picture), (16, 16), interpolation=cv2.INTER_AREA) for picture in pictures]
    flat = np.array(small, np.float32).reshape(len(small), 16 * 16)
    flat -= flat.mean(axis=1, keepdims=True)
    unit: Floats = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit


def _gray(picture: Image) -> Image:
    return picture if picture.ndim == 2 else np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
