"""Cuts between scenes: the frame from which on a film, or a switched camera, shows something else.

Two pictures of 32x24 cells are compared. Neighbouring frames that hardly differ, which are nearly all, cost
20 to 40 microseconds, whatever their size; the others cost half a millisecond at most.

Frames that do differ are a cut if the lines and edges are no longer where they were, not even after a move of
the camera by an eighth of the picture, and the colours are others too. Edges are compared after the
brightness around them is divided out, so that lights and exposure do not count. A person who walks past close
to the camera hides the edges, but brings few new colours in one frame. In a picture without colour most of
its cells must have changed instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.types import Floats, Image

CELLS = 32, 24
SAMPLES_PER_CELL = 2
"""Pixels of each cell, across and down."""
MIN_CHANGE = 8.0
"""Mean difference in grey levels; frames that differ less are not compared any closer."""
MIN_CONTRAST = 6.0
"""Standard deviation in grey levels: a darker or covered picture shows no scene, and is passed over."""
MAX_SHIFT = 4, 3
"""Cells by which the camera may have moved."""
SAME_SCENE_CORRELATION = 0.45
"""Correlation of edges from which on it is the same scene: of most cuts 0.3, of lights over 0.5."""
MIN_NEW_COLOURS = 0.25
"""Share of the picture whose colours are not found in the other one."""
MIN_COLOURFULNESS = 4.0
"""Mean distance from grey in the colour channels; both pictures below it have no colour to compare."""
SAME_SCENE_CORRELATION_GREY, MIN_CHANGED_CELLS = 0.3, 0.5
"""Without colour: the correlation of edges, and the share of cells that look different."""
_COLOUR_BINS, _COLOUR_RANGE = 16, (64, 192)
_NEIGHBOURS = 7, 7
_NOISE = 9.0  # variance in grey levels that counts as no edge
_OTHER_CELL = 0.5  # in normalized deviations of the picture


@dataclass(frozen=True)
class Thumbnail:
    """A frame in small: some pixels of it (BGR), and the grey of its cells."""

    bgr: Image
    grey: Image

    @classmethod
    def of(cls, bgr: Image) -> Thumbnail:
        """Of a frame of any size."""
        sampled = cv2.resize(
            bgr, (CELLS[0] * SAMPLES_PER_CELL, CELLS[1] * SAMPLES_PER_CELL), interpolation=cv2.INTER_NEAREST
        )
        grey = cv2.cvtColor(sampled, cv2.COLOR_BGR2GRAY)
        cells = cv2.resize(grey, CELLS, interpolation=cv2.INTER_AREA)
        return cls(np.asarray(sampled, np.uint8), np.asarray(cells, np.uint8))

    @cached_property
    def has_content(self) -> bool:
        """Neither black nor covered."""
        return float(cv2.meanStdDev(self.grey)[1][0, 0]) >= MIN_CONTRAST

    @cached_property
    def edges(self) -> Floats:
        """The cells with their surroundings divided out, so that the light does not matter."""
        grey = self.grey.astype(np.float32)
        mean = cv2.blur(grey, _NEIGHBOURS)
        variance = np.maximum(cv2.blur(grey * grey, _NEIGHBOURS) - mean * mean, 0)
        return np.asarray((grey - mean) / np.sqrt(variance + _NOISE), np.float32)

    @cached_property
    def normalized(self) -> Floats:
        """The cells without the picture's own brightness and contrast."""
        grey = self.grey.astype(np.float32)
        return np.asarray((grey - grey.mean()) / max(float(grey.std()), MIN_CONTRAST), np.float32)

    @cached_property
    def colours(self) -> NDArray[np.float32]:
        """Shares of the hues, whatever their brightness."""
        counts = cv2.calcHist([self._chroma], [1, 2], None, [_COLOUR_BINS] * 2, [*_COLOUR_RANGE] * 2)
        return np.asarray(counts / max(1.0, float(counts.sum())), np.float32)

    @cached_property
    def colourful(self) -> bool:
        """It has colours that can be compared."""
        return bool(np.abs(self._chroma[..., 1:].astype(np.float32) - 128).mean() >= MIN_COLOURFULNESS)

    @cached_property
    def _chroma(self) -> Image:
        return np.asarray(cv2.cvtColor(self.bgr, cv2.COLOR_BGR2YCrCb), np.uint8)


def is_cut(before: Thumbnail, after: Thumbnail) -> bool:
    """Whether two frames in a row show different scenes."""
    if cv2.norm(before.grey, after.grey, cv2.NORM_L1) < MIN_CHANGE * before.grey.size:
        return False
    alike = correlation(before, after)
    if alike >= SAME_SCENE_CORRELATION:
        return False
    if before.colourful or after.colourful:
        return new_colour_share(before, after) > MIN_NEW_COLOURS
    changed = float((np.abs(before.normalized - after.normalized) > _OTHER_CELL).mean())
    return alike < SAME_SCENE_CORRELATION_GREY and changed > MIN_CHANGED_CELLS


def correlation(before: Thumbnail, after: Thumbnail) -> float:
    """How well the edges of the middle are found again within REACH: 1 is all of them."""
    right, down = MAX_SHIFT
    middle = after.edges[down:-down, right:-right]
    return float(cv2.matchTemplate(before.edges, middle, cv2.TM_CCORR_NORMED).max())


def new_colour_share(before: Thumbnail, after: Thumbnail) -> float:
    """The share of one picture whose colours the other does not have, 0 to 1."""
    return 1.0 - float(np.minimum(before.colours, after.colours).sum())


class CutDetector:
    """Tells the first frame of each new scene, frame by frame."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """The next frame has nothing before it."""
        self._last: Thumbnail | None = None

    def step(self, bgr: Image) -> bool:
        """Take in the next frame, uint8 (height, width, 3); whether another scene begins with it."""
        now, last = Thumbnail.of(bgr), self._last
        if last is None:
            self._last = now
            return False
        # After darkness it is the last picture that showed something which is compared.
        if not now.has_content:
            return False
        self._last = now
        return last.has_content and is_cut(last, now)
