"""Clips as features of whole windows, for models that look at several pictures at once first of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeharfer.runtime.types import Floats
from edgeharfer.training.action.clips import Clip, Track
from edgeharfer.training.action.find import ClipFile
from edgeharfer.training.action.sampling import Sampler
from edgeharfer.training.action.store import Arrays, ClipStore


@dataclass(kw_only=True)
class WindowStore(ClipStore):
    """Encodes windows: all that `run` would see, and `draws` of each view as `shaker` makes them.

    trunk: a window of what the encoder gives (1, frames, size) -> its features, in any shape. Pictures of a
    clip are held in memory while it is encoded, and only the windows' features are kept.
    """

    trunk: Callable[[Floats], Floats]
    shaker: Sampler
    draws: int

    def encode(self, file: ClipFile, path: Path, digest: str) -> Arrays:
        arrays = super().encode(file, path, digest)
        clip = self.clip(file, digest, arrays)
        rng = np.random.default_rng(int(digest[:16], 16))
        kept: Arrays = {"times": clip.times, "scene": clip.scene}
        for i in range(1 + self.spec.views):
            track = Track(arrays[f"frames{i}"], arrays[f"features{i}"])
            found = self._drawn(clip, track, rng) if i else self._live(clip)
            kept[f"frames{i}"], kept[f"features{i}"] = found.frames, found.features
        return kept

    def _live(self, clip: Clip) -> Track:
        pictures = np.asarray(clip.plain.features, np.float32)
        windows = clip.rows(self.spec.window)
        rows = [self.trunk(pictures[one][None]).ravel() for one in windows]
        return Track(clip.plain.frames[windows[:, -1]], np.stack(rows))

    def _drawn(self, clip: Clip, track: Track, rng: np.random.Generator) -> Track:
        """Of a view that holds a picture at all; one that begins after the end of a clip does not."""
        if not len(track.frames):
            return track
        rows = [self.trunk(self.shaker.draw(clip, track, rng)[None]).ravel() for _ in range(self.draws)]
        return Track(np.repeat(track.frames[-1:], self.draws), np.stack(rows).astype(np.float16))
