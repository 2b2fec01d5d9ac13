"""Groups that must not be torn apart, scenes among them, and folds of whole groups with all classes alike."""

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
"""UCF101's and HMDB-like names: `v_Biking_g16_c02` is group 16 of its class, the same people and scene."""

GROUPING_RULES = {
    "scenes": "whole groups (gNN in the name, else scenes found by their looks)",
    "numbers": "whole groups (gNN in the name, else blocks of ten numbers)",
    "subject": "whole subjects ({pattern} in the name, else scenes found by their looks)",
    "clips": "single clips drawn at random: takes of one scene stand on both sides, so these figures LEAK "
    "scenes and are higher than any new scene will give",
}
"""What must not be torn apart, by the setting `grouping`."""


def group_clips(clips: Sequence[EncodedClip], by: str = "scenes", pattern: str = "") -> list[str]:
    """The group of each clip.

    A `gNN` in the name decides, within the class. For all other clips `by` does: "scenes" puts those
    together that show the same place, in whatever class; "numbers" takes blocks of ten numbers of a class.
    "subject" goes by what the one group of `pattern` finds in the name, in whatever class, and by scenes
    where it finds nothing. "clips" makes a group of every clip, whatever its name.
    Raises ConfigError for a pattern that finds a subject in no name.
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
            f"subject pattern {pattern}: no clip's name has it, not even {_stem(clips[0])}: give another"
        )
    return [f"subject {match[1]}" if match else None for match in matches]


def check_pattern(pattern: str) -> None:
    """Raise ConfigError for what is no regular expression with one group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(f"subject pattern {pattern}: {error}") from error
    if groups != 1:
        raise ConfigError(
            f"subject pattern {pattern!r}: {groups} groups in it: put the subject, and only it, in brackets, "
            r"like person(\d+)"
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


SIDE = 32
SAME_SCENE = 0.5
"""Correlation from which two clips count as one scene. On surveillance clips of a known few places, pairs
of one place and camera angle lie above 0.6 and pairs of different places below 0.4, almost all."""

_LIGHT_SIGMA = 6.0


def thumbnail(bgr: Image) -> Image:
    """A picture small and grey, uint8 (32, 32)."""
    small = cv2.resize(bgr, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def scene_descriptor(thumbnails: Sequence[Image]) -> Floats:
    """What stands still in a clip, (1024,), of length 1: what moves falls out, and so do light and shade.

    Its dot product with another clip's is their correlation.
    """
    still = np.median(np.stack(thumbnails), axis=0).astype(np.float32)
    detail = still - cv2.GaussianBlur(still, (0, 0), _LIGHT_SIGMA)
    flat: Floats = detail.ravel() - detail.mean()
    return flat / np.float32(max(float(np.linalg.norm(flat)), 1e-6))


def join_scenes(scenes: Floats, alike: float) -> list[int]:
    """A number for each clip (n, 1024), the same for clips that a chain of likenesses connects."""
    group = list(range(len(scenes)))
    for i, j in zip(*np.nonzero(np.triu(scenes @ scenes.T >= alike, 1)), strict=True):
        old, new = group[j], group[i]
        group = [new if one == old else one for one in group]
    return group
