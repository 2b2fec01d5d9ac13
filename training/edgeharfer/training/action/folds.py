"""Group clips by scene or subject, and assign whole groups to folds with balanced classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.types import Floats, Image
from edgeharfer.training.action.clips import EncodedClip

BLOCK_SIZE = 10
_GROUP_PATTERN = re.compile(r"(?:^|[_-])g(\d+)(?:[_-]|$)")
"""Group number in UCF101-like names: `v_Biking_g16_c02` is group 16 of its class, the same people and
scene.
"""

GROUPING_RULES = {
    "scenes": "whole groups (gNN in the name, else scenes found by appearance)",
    "numbers": "whole groups (gNN in the name, else blocks of ten numbers)",
    "subject": "whole subjects ({pattern} in the name, else scenes found by appearance)",
    "clips": "single clips drawn at random: takes of one scene are on both sides of a split, so these "
    "figures LEAK scenes and are higher than on new scenes",
}
"""What is never split between folds, by the recipe's `grouping`."""


def group_clips(clips: Sequence[EncodedClip], by: str = "scenes", pattern: str = "") -> list[str]:
    """Return the group of each clip.

    Args:
        clips: The clips.
        by: How to group. "scenes": `gNN` in the name, within the class, else clips that show the same place.
            "numbers": `gNN`, else blocks of ten numbers of a class. "subject": the text that `pattern`
            captures in the name, else the scene. "clips": each clip is its own group.
        pattern: Regular expression with one group, for "subject".

    Raises:
        ConfigError: No clip's name matches the pattern.
    """
    if by == "clips":
        return [f"{clip.source} {clip.name}" for clip in clips]
    named = _subjects(clips, pattern) if by == "subject" else [_named_group(clip) for clip in clips]
    blocks = [_block(clip) for clip in clips] if by == "numbers" else _scenes(clips, named)
    return [name or block for name, block in zip(named, blocks, strict=True)]


def _stem(clip: EncodedClip) -> str:
    return PurePosixPath(clip.name).stem


def _named_group(clip: EncodedClip) -> str | None:
    found = _GROUP_PATTERN.search(_stem(clip))
    return f"{clip.label} g{found[1]}" if found else None


def _subjects(clips: Sequence[EncodedClip], pattern: str) -> list[str | None]:
    matches = [re.search(pattern, _stem(clip)) for clip in clips]
    if not any(matches):
        raise ConfigError(
            f"subject pattern {pattern}: matches no clip name, such as {_stem(clips[0])}: change the pattern"
        )
    return [f"subject {match[1]}" if match else None for match in matches]


def check_pattern(pattern: str) -> None:
    """Check that `pattern` is a regular expression with one group.

    Raises:
        ConfigError: It is not.
    """
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(f"subject pattern {pattern}: {error}") from error
    if groups != 1:
        raise ConfigError(
            f"subject pattern {pattern!r}: expected one group, found {groups}: put the subject in "
            r"parentheses, such as person(\d+)"
        )


def _scenes(clips: Sequence[EncodedClip], named: Sequence[str | None]) -> list[str]:
    unnamed = [i for i, name in enumerate(named) if name is None]
    groups = [""] * len(clips)
    if unnamed:
        joined = join_scenes(np.stack([clips[i].scene for i in unnamed]), SAME_SCENE)
        for i, number in zip(unnamed, joined, strict=True):
            groups[i] = f"scene {number}"
    return groups


def _block(clip: EncodedClip) -> str:
    digits = re.findall(r"\d+", _stem(clip))
    block = f"block {(int(digits[-1]) - 1) // BLOCK_SIZE}" if digits else _stem(clip)
    return f"{clip.label} {clip.source} {block}"


def assign_folds(
    labels: NDArray[np.int64], groups: Sequence[str], folds: int, seed: int
) -> NDArray[np.int64]:
    """Assign whole groups to folds, with every class spread as evenly as its groups allow.

    Groups are assigned from large to small, each to the fold with the least of its classes.

    Args:
        labels: Class of each clip, (clips,).
        groups: Group of each clip.
        folds: Number of folds.
        seed: Seed of the order of equally large groups.

    Returns:
        Fold of each clip, from 0, (clips,).

    Raises:
        ConfigError: There are fewer groups than folds.
    """
    names = sorted(set(groups))
    if len(names) < folds:
        raise ConfigError(
            f"{len(names)} groups of clips are too few for {folds} folds: reduce folds or add other scenes"
        )
    shares = np.zeros((len(names), int(labels.max()) + 1))
    member = np.array([names.index(group) for group in groups])
    np.add.at(shares, (member, labels), 1.0 / np.bincount(labels)[labels])
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-np.bincount(member)[order], kind="stable")]
    assigned = np.zeros((folds, shares.shape[1]))
    fold_of_group = np.zeros(len(names), np.int64)
    for group in order:
        load = assigned @ shares[group] + 1e-6 * assigned.sum(axis=1)
        fold = fold_of_group[group] = int(load.argmin())
        assigned[fold] += shares[group]
    fold_of_clip: NDArray[np.int64] = fold_of_group[member]
    return fold_of_clip


SIDE = 32
SAME_SCENE = 0.5
"""Minimum correlation of two clips for them to count as one scene.

On surveillance clips of a few known places, almost all pairs of the same place and camera angle are above 0.6
and almost all pairs of different places below 0.4.
"""

_LIGHT_SIGMA = 6.0


def thumbnail(bgr: Image) -> Image:
    """Reduce a BGR image to grey, uint8 (32, 32)."""
    small = cv2.resize(bgr, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def scene_descriptor(thumbnails: Sequence[Image]) -> Floats:
    """Describe the static background of a clip, without moving objects and lighting.

    Args:
        thumbnails: Results of `thumbnail`.

    Returns:
        Unit vector, float32 (1024,); the dot product of two is their correlation.
    """
    still = np.median(np.stack(thumbnails), axis=0).astype(np.float32)
    detail = still - cv2.GaussianBlur(still, (0, 0), _LIGHT_SIGMA)
    flat: Floats = detail.ravel() - detail.mean()
    return flat / np.float32(max(float(np.linalg.norm(flat)), 1e-6))


def join_scenes(scenes: Floats, min_correlation: float) -> list[int]:
    """Cluster clips by single linkage.

    Args:
        scenes: Scene descriptors, (n, 1024).
        min_correlation: Minimum correlation of two clips to join them.

    Returns:
        Cluster number of each clip.
    """
    group = list(range(len(scenes)))
    for i, j in zip(*np.nonzero(np.triu(scenes @ scenes.T >= min_correlation, 1)), strict=True):
        old, new = group[j], group[i]
        group = [new if one == old else one for one in group]
    return group
