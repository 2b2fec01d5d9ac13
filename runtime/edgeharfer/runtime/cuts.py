"""Cut detection: finds the first frame of each new scene of a film, or after a camera was switched.

Consecutive frames are compared as thumbnails of 32x24 cells. Nearly all of them hardly differ, which takes 20
to 40 microseconds to find, whatever their size; comparing the others takes half a millisecond at most.

Frames that do differ are a cut if their edges do not correlate, even after a camera movement of up to an
eighth of the picture, and their colours differ too. The edges are normalized by the local contrast, so that
changes of light and exposure do not count. A person who walks past close to the camera hides the edges, but
adds few new colours in one frame. In pictures without colour, most cells must have changed instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.picture import Grey, Image, Picture
from edgeharfer.runtime.types import Floats

CELLS = 32, 24
"""Columns and rows of the thumbnail."""
SAMPLES_PER_CELL = 2
"""Sampled pixels of each cell, horizontally and vertically."""
MIN_CHANGE = 8.0
"""Mean difference in grey levels below which frames are not compared any further."""
MIN_CONTRAST = 6.0
"""Standard deviation in grey levels below which a picture is dark or covered, and is skipped."""
MAX_SHIFT = 4, 3
"""Maximum camera movement between two frames, in cells."""
SAME_SCENE_CORRELATION = 0.45
"""Minimum correlation of edges within a scene. Most cuts have 0.3, changes of light more than 0.5."""
MIN_NEW_COLOURS = 0.25
"""A cut changes the colours of more than this share of the picture."""
MIN_COLOURFULNESS = 4.0
"""Mean distance of the chroma channels from grey below which a picture counts as colourless."""
SAME_SCENE_CORRELATION_GREY = 0.3
"""Minimum correlation of edges within a scene without colour."""
MIN_CHANGED_CELLS = 0.5
"""A cut between pictures without colour changes more than this share of the cells."""
_SAMPLES = CELLS[0] * SAMPLES_PER_CELL, CELLS[1] * SAMPLES_PER_CELL
_COLOUR_BINS, _COLOUR_RANGE = 16, (64, 192)
_NEIGHBOURS = 7, 7
_NOISE = 9.0  # variance in grey levels that counts as no edge
_CELL_CHANGE = 0.5  # in standard deviations of the picture


@dataclass(frozen=True)
class Thumbnail:
    """A reduced frame, with features that are computed on first use.

    Attributes:
        picture: The frame, whose colours are rarely needed.
        grey: Mean grey level of each cell, uint8, (24, 32).
    """

    picture: Picture
    grey: Grey

    @classmethod
    def of(cls, picture: Picture) -> Thumbnail:
        """Reduce a picture of any size."""
        cells = cv2.resize(picture.sampled_grey(*_SAMPLES), CELLS, interpolation=cv2.INTER_AREA)
        return cls(picture.unconverted(), np.asarray(cells, np.uint8))

    @property
    def has_content(self) -> bool:
        """Whether the picture is neither dark nor covered."""
        return float(cv2.meanStdDev(self.grey)[1][0, 0]) >= MIN_CONTRAST

    @cached_property
    def edges(self) -> Floats:
        """The cells normalized by the mean and contrast of their neighbours, float32, (24, 32)."""
        grey = self.grey.astype(np.float32)
        mean = cv2.blur(grey, _NEIGHBOURS)
        variance = np.maximum(cv2.blur(grey * grey, _NEIGHBOURS) - mean * mean, 0)
        return np.asarray((grey - mean) / np.sqrt(variance + _NOISE), np.float32)

    @cached_property
    def normalized(self) -> Floats:
        """The cells normalized by the mean and contrast of the whole picture, float32, (24, 32)."""
        grey = self.grey.astype(np.float32)
        return np.asarray((grey - grey.mean()) / max(float(grey.std()), MIN_CONTRAST), np.float32)

    @cached_property
    def colours(self) -> NDArray[np.float32]:
        """Normalized histogram of the chroma channels, float32, (16, 16)."""
        counts = cv2.calcHist([self._chroma], [1, 2], None, [_COLOUR_BINS] * 2, [*_COLOUR_RANGE] * 2)
        return np.asarray(counts / max(1.0, float(counts.sum())), np.float32)

    @cached_property
    def colourful(self) -> bool:
        """Whether the picture has colours that can be compared."""
        return bool(np.abs(self._chroma[..., 1:].astype(np.float32) - 128).mean() >= MIN_COLOURFULNESS)

    @cached_property
    def _chroma(self) -> Image:
        return np.asarray(cv2.cvtColor(self.picture.sampled(*_SAMPLES), cv2.COLOR_BGR2YCrCb), np.uint8)


def is_cut(before: Thumbnail, after: Thumbnail) -> bool:
    """Return whether two consecutive frames show different scenes."""
    if cv2.norm(before.grey, after.grey, cv2.NORM_L1) < MIN_CHANGE * before.grey.size:
        return False
    alike = correlation(before, after)
    if alike >= SAME_SCENE_CORRELATION:
        return False
    if before.colourful or after.colourful:
        return new_colour_share(before, after) > MIN_NEW_COLOURS
    changed = float((np.abs(before.normalized - after.normalized) > _CELL_CHANGE).mean())
    return alike < SAME_SCENE_CORRELATION_GREY and changed > MIN_CHANGED_CELLS


def correlation(before: Thumbnail, after: Thumbnail) -> float:
    """Return the highest correlation of the central edges over all shifts up to MAX_SHIFT, at most 1."""
    right, down = MAX_SHIFT
    middle = after.edges[down:-down, right:-right]
    return float(cv2.matchTemplate(before.edges, middle, cv2.TM_CCORR_NORMED).max())


def new_colour_share(before: Thumbnail, after: Thumbnail) -> float:
    """Return the share of one picture whose colours the other one does not have, from 0 to 1."""
    return 1.0 - float(np.minimum(before.colours, after.colours).sum())


class CutDetector:
    """Finds the first frame of each new scene."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Discard the previous frame."""
        self._last: Thumbnail | None = None  # has content

    def step(self, picture: Picture) -> bool:
        """Process the next frame; return whether a new scene begins with it."""
        now, last = Thumbnail.of(picture), self._last
        # After darkness, compare with the last picture that had content.
        if not now.has_content:
            return False
        self._last = now
        return last is not None and is_cut(last, now)
