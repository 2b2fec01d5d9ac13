"""Make the windows that heads are trained on and evaluated by.

"time" samples frames at fixed time steps, as the runtime does. "uniform" spreads the frames evenly over the
whole clip, as is usual for UCF101: each clip then has one window. Live video has no start and end of a clip,
so figures of live windows are reported as well. A clip that is too short is padded with its last frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip, Times

SAMPLING_MODES = ("time", "uniform")
"""Ways to sample windows from encoded frames."""


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
