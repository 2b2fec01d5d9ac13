"""All that looks at pixels: faces, their emotions, and the features of a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.cuts import CutFinder
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.search import FaceFinder
from edgeharfer.runtime.tasks.action import ActionModel
from edgeharfer.runtime.tasks.emotion import EmotionModel
from edgeharfer.runtime.types import Box, Face, Floats, Frame


class Senses:
    """The models whose input are pictures. What the rest of the pipeline makes of it needs no picture.

    emotion, action: None where that task is off. follow: as FaceFinder takes it. The times of the stages
    go into `stages_ms`.
    """

    def __init__(
        self,
        detector: Detector,
        emotion: EmotionModel | None,
        action: ActionModel | None,
        *,
        follow: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self.detector, self.emotion, self.action = detector, emotion, action
        self._finder = FaceFinder(detector, follow=follow)
        self._cuts = CutFinder()
        self._clock = clock or SystemClock()

    def reset(self) -> None:
        """Forget all frames seen: for another source."""
        self._finder.reset()
        self._cuts.reset()

    def cut(self, frame: Frame) -> bool:
        """Whether another scene begins with this frame. Asked of every frame of a film, in order."""
        return self._cuts.step(frame.bgr)

    def look(self, frame: Frame, due: bool) -> bool:
        """Whether to look for faces in this frame, where the schedule says that it is due."""
        return due

    def find(self, frame: Frame, known: Sequence[Box]) -> list[Face]:
        """Faces of the frame, best first. known: boxes in which a face was seen a moment ago."""
        return self._finder.find(frame, known)

    def turn(self, frame: Frame, count: int) -> int:
        """How many faces to read in this frame, where `count` have their turn."""
        return count

    def feel(self, frame: Frame, faces: Sequence[Face], stages_ms: dict[str, float]) -> Floats:
        """How the faces look, float32 (faces, classes); adds "align" and "emotion"."""
        assert self.emotion is not None, "emotions are on"
        if not faces:
            return np.empty((0, len(self.emotion.manifest.labels)), np.float32)
        start = self._clock.monotonic()
        crops = self.emotion.cut(frame.bgr, faces)
        aligned = self._clock.monotonic()
        probs = self.emotion.classify(crops)
        stages_ms["align"] = (aligned - start) * 1e3
        stages_ms["emotion"] = (self._clock.monotonic() - aligned) * 1e3
        return probs

    def encode(self, frame: Frame) -> Floats:
        """The frame's features for the action model."""
        assert self.action is not None, "actions are on"
        return self.action.encode(frame.bgr)

    def done(self, frame: Frame) -> None:
        """Called when all is known of a frame."""
