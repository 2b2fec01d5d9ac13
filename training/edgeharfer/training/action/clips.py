"""Encoded clips: frame times, features, and windows of features."""

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

    Attributes:
        frames: Frame numbers, int64 (n,); for windows, that of each window's last frame.
        features: Floats (n, size).
    """

    frames: NDArray[np.int64]
    features: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """A clip's features.

    Attributes:
        name: Path within its data set.
        label: Class.
        source: Folder or archive that it comes from.
        sha256: Hash of the file.
        times: Times of all frames in seconds, float64.
        plain: Features of the frames that the runtime would encode, float32.
        views: Features of augmented copies, float16. With sampling by time, every other view is sampled half
            a step later; with uniform sampling they hold the same frames as `full_clip`.
        scene: Result of `folds.scene_descriptor`.
        full_clip: Features of frames spread over the whole clip, float32; None unless sampling is "uniform".
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
        """Whether it was given as background but is labelled with a class of the data; figures exclude it."""
        return self.name.startswith(f"{BACKGROUND}/") and self.label != BACKGROUND

    def rows(self, window: WindowSpec) -> NDArray[np.int64]:
        """Return the windows that `run` would see as rows of `plain`, (windows, frames)."""
        row = {int(frame): i for i, frame in enumerate(self.plain.frames)}
        frames = ((float(time), i) for i, time in enumerate(self.times))
        found = clip_windows(frames, window, lambda frame: np.array([row[frame]], np.float64))
        return np.asarray(found[..., 0], np.int64)

    def windows(self, window: WindowSpec) -> Floats:
        """Return the features of the windows that `run` would see, float32 (windows, frames, size)."""
        return np.asarray(self.plain.features[self.rows(window)], np.float32)

    def window_at(self, track: ClipFeatures, start: float, offsets: Times) -> Floats:
        """Sample one window from a track.

        Args:
            track: Features to sample from.
            start: 0 is the earliest start, 1 the latest that still fills the window.
            offsets: Times of the frames from the window's start, in seconds.

        Returns:
            float32 (frames, size).
        """
        times = self.times[track.frames]
        latest = max(0.0, float(times[-1] - times[0] - offsets[-1]))
        return self.features_at(track, times[0] + start * latest + offsets)

    def features_at(self, track: ClipFeatures, wanted: Times) -> Floats:
        """Return the first features at or after each time, or the last ones after the end, float32 (n,
        size).
        """
        times = self.times[track.frames]
        rows = np.searchsorted(times, wanted - _SLACK_S).clip(max=len(times) - 1)
        return np.asarray(track.features[rows], np.float32)
