"""Select the frames of a clip to encode, and make windows of the encoded frames.

Frames are sampled at fixed time steps, as at run time ("time"), or spread evenly over the whole clip, as is
usual for UCF101 ("uniform"); each clip then has one window. Live video has no start and end of a clip, so
figures of live windows are reported as well. A clip that is too short is padded with its last frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.tasks.action import FeatureRing
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip, Times

SAMPLING_MODES = ("time", "uniform")
"""Ways to sample windows from encoded frames."""

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


class Sampler(Protocol):
    """Makes windows of a clip."""

    def evaluation_windows(self, clip: EncodedClip) -> Floats:
        """Return the windows that a clip is evaluated by, float32 (windows, frames, size)."""

    def tracks(self, clip: EncodedClip) -> tuple[ClipFeatures, ...]:
        """Return the features to draw windows from: the clip itself, then its augmented copies."""

    def draw(self, clip: EncodedClip, track: ClipFeatures, rng: np.random.Generator) -> Floats:
        """Draw a random training window, float32 (frames, size)."""


@dataclass(frozen=True)
class TimedWindows:
    """Windows at fixed time steps.

    Attributes:
        window: Window of the package.
        speed: Largest relative change of playback speed.
        jitter: Largest shift of a frame, in steps.
    """

    window: WindowSpec
    speed: float = 0.0
    jitter: float = 0.0

    def evaluation_windows(self, clip: EncodedClip) -> Floats:
        return clip.windows(self.window)

    def tracks(self, clip: EncodedClip) -> tuple[ClipFeatures, ...]:
        return clip.plain, *clip.views

    def draw(self, clip: EncodedClip, track: ClipFeatures, rng: np.random.Generator) -> Floats:
        step_s = self.window.seconds / self.window.frames * rng.uniform(1 - self.speed, 1 + self.speed)
        steps = jittered(np.arange(self.window.frames, dtype=np.float64), self.jitter, rng)
        return clip.window_at(track, rng.uniform(0, 1), step_s * steps)


@dataclass(frozen=True)
class UniformWindow:
    """One window spread over the whole clip.

    Attributes:
        frames: Frames per window.
        jitter: Largest shift of a frame, in steps.
    """

    frames: int
    jitter: float = 0.0

    def evaluation_windows(self, clip: EncodedClip) -> Floats:
        whole, steps = self.tracks(clip)[0], np.arange(self.frames, dtype=np.float64)
        return clip.features_at(whole, self._times(clip, whole, steps))[None]

    def tracks(self, clip: EncodedClip) -> tuple[ClipFeatures, ...]:
        assert clip.full_clip is not None, "clips must be encoded with uniform sampling"
        return clip.full_clip, *clip.views

    def draw(self, clip: EncodedClip, track: ClipFeatures, rng: np.random.Generator) -> Floats:
        steps = jittered(np.arange(self.frames, dtype=np.float64), self.jitter, rng)
        return clip.features_at(track, self._times(clip, track, steps))

    @staticmethod
    def _times(clip: EncodedClip, track: ClipFeatures, steps: Times) -> Times:
        """Interpolate frame times from positions in the track."""
        times = clip.times[track.frames]
        return np.interp(steps, np.arange(len(times)), times)


class EncodedWindows:
    """Windows that were encoded as a whole, with one row of features each."""

    def evaluation_windows(self, clip: EncodedClip) -> Floats:
        return np.asarray(clip.plain.features[:, None], np.float32)

    def tracks(self, clip: EncodedClip) -> tuple[ClipFeatures, ...]:
        return clip.plain, *clip.views

    def draw(self, clip: EncodedClip, track: ClipFeatures, rng: np.random.Generator) -> Floats:
        return np.asarray(track.features[rng.integers(len(track.features))][None], np.float32)


def jittered(steps: Times, jitter: float, rng: np.random.Generator) -> Times:
    """Shift each step by up to `jitter`; the order is kept up to a jitter of half a step."""
    if not jitter:
        return steps
    moved: Times = (steps + rng.uniform(-jitter, jitter, len(steps))).clip(min=0.0)
    return moved


def make_sampler(name: str, window: WindowSpec, speed: float, jitter: float) -> Sampler:
    """Return the sampler for a recipe's `sampling`, "time" or "uniform"."""
    return TimedWindows(window, speed, jitter) if name == "time" else UniformWindow(window.frames, jitter)
