"""Groups that must not be torn apart, and folds of whole groups with about the same mix of classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.training.action.clips import Clip
from edgeharfer.training.action.scenes import SAME_SCENE, join_scenes

NEIGHBOURS = 10
_NAMED = re.compile(r"(?:^|[_-])g(\d+)(?:[_-]|$)")
"""UCF101's and HMDB-like names: `v_Biking_g16_c02` is group 16 of its class, the same people and scene."""


def group_clips(clips: Sequence[Clip], by: str = "scenes") -> list[str]:
    """The group of each clip.

    A `gNN` in the name decides, within the class. For all other clips `by` does: "scenes" puts those
    together that show the same place, in whatever class; "numbers" takes blocks of ten numbers of a class.
    """
    scenes = _scenes(clips) if by == "scenes" else [_block(clip) for clip in clips]
    return [_named(clip) or scene for clip, scene in zip(clips, scenes, strict=True)]


def _stem(clip: Clip) -> str:
    return PurePosixPath(clip.name).stem


def _named(clip: Clip) -> str | None:
    found = _NAMED.search(_stem(clip))
    return f"{clip.label} g{found[1]}" if found else None


def _scenes(clips: Sequence[Clip]) -> list[str]:
    unnamed = [i for i, clip in enumerate(clips) if _named(clip) is None]
    groups = [""] * len(clips)
    if unnamed:
        joined = join_scenes(np.stack([clips[i].scene for i in unnamed]), SAME_SCENE)
        for i, number in zip(unnamed, joined, strict=True):
            groups[i] = f"scene {number}"
    return groups


def _block(clip: Clip) -> str:
    digits = re.findall(r"\d+", _stem(clip))
    block = f"block {(int(digits[-1]) - 1) // NEIGHBOURS}" if digits else _stem(clip)
    return f"{clip.label} {clip.source} {block}"


def assign_folds(
    labels: NDArray[np.int64], groups: Sequence[str], folds: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each clip, 0 to folds - 1; every class is spread as evenly as its groups allow.

    Large groups first, each into the fold that holds least of what the group brings.
    Raises ConfigError where there are fewer groups than folds.
    """
    names = sorted(set(groups))
    if len(names) < folds:
        raise ConfigError(
            f"{len(names)} groups of clips cannot make {folds} folds: add clips of other scenes"
        )
    shares = np.zeros((len(names), int(labels.max()) + 1))
    member = np.array([names.index(group) for group in groups])
    np.add.at(shares, (member, labels), 1.0 / np.bincount(labels)[labels])
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-np.bincount(member)[order], kind="stable")]
    held = np.zeros((folds, shares.shape[1]))
    fold_of_group = np.zeros(len(names), np.int64)
    for group in order:
        burden = held @ shares[group] + 1e-6 * held.sum(axis=1)
        fold = fold_of_group[group] = int(burden.argmin())
        held[fold] += shares[group]
    fold_of_clip: NDArray[np.int64] = fold_of_group[member]
    return fold_of_clip
