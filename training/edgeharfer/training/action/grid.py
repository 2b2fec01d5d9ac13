"""Which frames of a clip are encoded: those that the runtime would take, or some spread over all of it."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.tasks.action import FeatureRing

_EMPTY = np.zeros(0, np.float32)


class FramePicker(Protocol):
    """Selects frames of a clip; called for every frame in order."""

    def accepts(self, number: int, pts_s: float) -> bool:
        """Whether to take this frame; a frame that is accepted counts as taken."""


class RuntimeGrid:
    """Selects the frames that the runtime would encode.

    Args:
        window: Window of the package.
        offset: Select frames half a step later.
        seconds: Stop after this time from the first frame.
    """

    def __init__(self, window: WindowSpec, *, offset: bool = False, seconds: float = math.inf) -> None:
        self._ring = FeatureRing(window)
        self._delay_s = window.seconds / window.frames / 2 if offset else 0.0
        self._seconds = seconds
        self._first_s: float | None = None

    def accepts(self, number: int, pts_s: float) -> bool:
        if self._first_s is None:
            self._first_s = pts_s
        inside = self._delay_s <= pts_s - self._first_s <= self._seconds
        if not inside or not self._ring.wants(pts_s):
            return False
        self._ring.push(pts_s, _EMPTY)
        return True


class EvenSpread:
    """Selects `count` frames spread evenly over a clip of `total` frames, or all of a shorter clip."""

    def __init__(self, total: int, count: int) -> None:
        self._numbers = frozenset(spread_frames(total, count))

    def accepts(self, number: int, pts_s: float) -> bool:
        return number in self._numbers


def spread_frames(total: int, count: int) -> list[int]:
    """Return the first frame of each of `count` equal parts of a clip, as usual for UCF101; all of a shorter
    one.
    """
    return [i * total // count for i in range(count)] if total > count else list(range(total))
