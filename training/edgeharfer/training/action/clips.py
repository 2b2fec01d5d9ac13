"""Clips as features: their pictures' times, the encoded ones, and windows of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.action import clip_windows
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.find import BACKGROUND

Times = NDArray[np.float64]
_SLACK_S = 1e-6


@dataclass(frozen=True, eq=False)
class ClipFeatures:
    """Features of some frames of a clip, or of windows of it.

    frames: their numbers, of windows those of the last frames, int64 (n,). features: float (n, size).
    """

    frames: NDArray[np.int64]
    features: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """A clip's features.

    times: of every frame, seconds, float64. plain: of the frames that the runtime would encode, float32.
    views: of changed copies, float16; sampled by time, every other one is half a grid step later. scene: as
    scene_of makes it. whole: of frames spread over the whole clip, float32, where it was sampled so; then
    the views hold the same frames.
    """

    name: str
    label: str
    source: str
    sha256: str
    times: Times
    plain: ClipFeatures
    views: tuple[ClipFeatures, ...]
    scene: Floats
    full_clip: ClipFeatures | None = None

    @property
    def aside(self) -> bool:
        """It was given as background and counts as a class of the data, so that figures leave it out."""
        return self.name.startswith(f"{BACKGROUND}/") and self.label != BACKGROUND

    def rows(self, window: WindowSpec) -> NDArray[np.int64]:
        """Its windows as `run` would see them, each as rows of the plain track, (windows, frames)."""
        row = {int(frame): i for i, frame in enumerate(self.plain.frames)}
        frames = ((float(time), i) for i, time in enumerate(self.times))
        found = clip_windows(frames, window, lambda frame: np.array([row[frame]], np.float64))
        return np.asarray(found[..., 0], np.int64)

    def windows(self, window: WindowSpec) -> Floats:
        """The features of these windows, float32 (windows, frames, size)."""
        return np.asarray(self.plain.features[self.rows(window)], np.float32)

    def window_at(self, track: ClipFeatures, start: float, offsets: Times) -> Floats:
        """A window of a track, float32 (frames, size). offsets: of its pictures from its begin, seconds.

        start: 0 is the earliest begin, 1 the latest that leaves the window full.
        """
        times = self.times[track.frames]
        latest = max(0.0, float(times[-1] - times[0] - offsets[-1]))
        return self.features_at(track, times[0] + start * latest + offsets)

    def features_at(self, track: ClipFeatures, wanted: Times) -> Floats:
        """The first features at or after each time, float32 (n, size); after the last ones they are held."""
        times = self.times[track.frames]
        rows = np.searchsorted(times, wanted - _SLACK_S).clip(max=len(times) - 1)
        return np.asarray(track.features[rows], np.float32)
