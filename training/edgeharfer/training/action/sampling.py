"""The windows that a head is taught and judged by: at any place in time, or spread over the whole clip.

"time" takes pictures in steps of time, as the runtime does, so that a model meets at run time what it was
taught. "uniform" spreads the pictures evenly over a clip however long it is, the classic way with UCF101:
a clip has one window then, and no live picture has a clip's begin and end, so figures of both are given.
A clip with too few pictures stands still on its last one until the window is full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import ClipFeatures, EncodedClip, Times

SAMPLING_MODES = ("time", "uniform")
"""Ways to put windows together of pictures; windows that were encoded whole are only read."""


class Sampler(Protocol):
    """One way to make windows of a clip."""

    def evaluation_windows(self, clip: EncodedClip) -> Floats:
        """The windows that a clip is judged by, float32 (windows, frames, size)."""

    def tracks(self, clip: EncodedClip) -> tuple[ClipFeatures, ...]:
        """What windows can be drawn from: the unchanged clip first, then its changed copies."""

    def draw(self, clip: EncodedClip, track: ClipFeatures, rng: np.random.Generator) -> Floats:
        """A window to be taught, float32 (frames, size)."""


@dataclass(frozen=True)
class TimedWindows:
    """Windows in steps of time. speed: they play up to so much slower or faster. jitter: see `jittered`."""

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
    """One window, spread over the whole clip. jitter: see `jittered`; a step is the clip's own."""

    frames: int
    jitter: float = 0.0

    def evaluation_windows(self, clip: EncodedClip) -> Floats:
        whole, steps = self.tracks(clip)[0], np.arange(self.frames, dtype=np.float64)
        return clip.features_at(whole, self._times(clip, whole, steps))[None]

    def tracks(self, clip: EncodedClip) -> tuple[ClipFeatures, ...]:
        assert clip.full_clip is not None, "clips are encoded by the same sampling as they are taught by"
        return clip.full_clip, *clip.views

    def draw(self, clip: EncodedClip, track: ClipFeatures, rng: np.random.Generator) -> Floats:
        steps = jittered(np.arange(self.frames, dtype=np.float64), self.jitter, rng)
        return clip.features_at(track, self._times(clip, track, steps))

    @staticmethod
    def _times(clip: EncodedClip, track: ClipFeatures, steps: Times) -> Times:
        """Times of the track's pictures, by their place in it; the last picture's after its end."""
        times = clip.times[track.frames]
        return np.interp(steps, np.arange(len(times)), times)


class EncodedWindows:
    """Windows that were encoded whole: a row of features each, where others have one for each picture."""

    def evaluation_windows(self, clip: EncodedClip) -> Floats:
        return np.asarray(clip.plain.features[:, None], np.float32)

    def tracks(self, clip: EncodedClip) -> tuple[ClipFeatures, ...]:
        return clip.plain, *clip.views

    def draw(self, clip: EncodedClip, track: ClipFeatures, rng: np.random.Generator) -> Floats:
        return np.asarray(track.features[rng.integers(len(track.features))][None], np.float32)


def jittered(steps: Times, jitter: float, rng: np.random.Generator) -> Times:
    """Steps each moved by up to `jitter` of a step, in order as long as that is half a step at the most."""
    if not jitter:
        return steps
    moved: Times = (steps + rng.uniform(-jitter, jitter, len(steps))).clip(min=0.0)
    return moved


def make_sampler(name: str, window: WindowSpec, speed: float, jitter: float) -> Sampler:
    """The sampler of a recipe."""
    return TimedWindows(window, speed, jitter) if name == "time" else UniformWindow(window.frames, jitter)
