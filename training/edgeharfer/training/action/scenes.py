"""Which clips show the same scene: those whose median pictures are alike, whatever their names say."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgeharfer.runtime.types import Floats, Image

SIDE = 32
SAME_SCENE = 0.5
"""Correlation from which two clips count as one scene. On surveillance clips of a known few places, pairs
of one place and camera angle lie above 0.6 and pairs of different places below 0.4, almost all."""

_LIGHT_SIGMA = 6.0


def thumbnail(bgr: Image) -> Image:
    """A picture small and grey, uint8 (32, 32)."""
    small = cv2.resize(bgr, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def scene_of(thumbnails: Sequence[Image]) -> Floats:
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
