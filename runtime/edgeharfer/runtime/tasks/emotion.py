"""The task emotion: faces of a frame in one batch, each track's probabilities averaged over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces.tracks import LONGEST_KEEP_S
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.schedule import Schedule
from edgeharfer.runtime.tasks import EMOTION
from edgeharfer.runtime.tasks.pictures import PictureModel
from edgeharfer.runtime.tasks.smoothing import Decision, Smoother
from edgeharfer.runtime.types import Emotion, Face, Floats, Frame, Image, TrackedFace

TIME_CONSTANT_S = 0.35
FACES_AT_ONCE = 1
"""Faces whose emotion is computed in one frame; the others have their turn in the next ones.

Where frames do not come as time passes, new faces are all read in the frame that shows them first."""
PRIORS = ("package", "data", "balanced", "uniform")


class EmotionModel(PictureModel):
    """The graph of an emotion package: faces of a frame to probabilities.

    prior: one of PRIORS. backend: as PictureModel takes it.
    """

    def __init__(self, package: Package, backend: Backend = CPU, *, prior: str = "package") -> None:
        super().__init__(package, backend)
        self._weights = prior_weights(self.manifest, prior)

    @property
    def cuts_portraits(self) -> bool:
        """Whether the pictures of a data set are cut like live faces; else they are taken whole.

        A model that was trained on whole pictures knows faces framed as there, and those it gets.
        """
        return self.manifest.options.get("portraits") == "cut"

    def classify(self, pictures: Sequence[Image]) -> Floats:
        """Cut faces, uint8 of any size -> probabilities (n, classes)."""
        return reweigh(super().classify(pictures), self._weights)


def prior_weights(manifest: Manifest, prior: str) -> Floats | None:
    """What to multiply the classes' probabilities with to answer under another prior; None: as trained.

    Bayes: p'(class | face) is proportional to p(class | face) * prior'(class) / prior(class), with the
    class shares of the training data as the prior (Saerens et al. 2002). "data" wants those shares,
    "balanced" the more even ones that the package carries, "uniform" all classes alike. "package" is what
    the package was made for: "balanced" where it carries such shares, else "data"; and a package without
    them is balanced by "uniform".
    """
    if prior not in PRIORS:
        raise ConfigError(f"unknown prior {prior!r}: choose from {', '.join(PRIORS)}")
    trained = manifest.prior.get("data")
    wanted = manifest.prior.get("package") if prior != "uniform" else None
    if prior == "data" or (prior == "package" and wanted is None):
        return None
    if trained is None:
        raise ConfigError(
            f"{manifest.name} does not record the class shares of its training data: use --prior data"
        )
    target = np.full(len(trained), 1 / len(trained)) if wanted is None else np.asarray(wanted)
    return ratio(target, np.asarray(trained))


def ratio(wanted: NDArray[np.float64], trained: NDArray[np.float64]) -> Floats:
    """Weights from one set of class shares to another; a class that was never taught stays near zero."""
    return (wanted / np.maximum(trained, 1e-6)).astype(np.float32)


def reweigh(probs: Floats, weights: Floats | None) -> Floats:
    """Probabilities (n, classes) times weights (classes,), each row summing to 1 again."""
    if weights is None:
        return probs
    weighted = probs * weights
    result: Floats = weighted / weighted.sum(axis=1, keepdims=True)
    return result


class EmotionRecognizer:
    """How each tracked face looks, frame by frame."""

    def __init__(self, model: EmotionModel, *, threshold: float | None = None) -> None:
        self._model = model
        self._threshold = model.manifest.threshold if threshold is None else threshold
        self._by_track: dict[int, tuple[Smoother, Decision]] = {}
        self._felt: dict[int, Emotion] = {}

    def reset(self) -> None:
        """Forget every face."""
        self._by_track.clear()
        self._felt.clear()

    def update(self, probs: Floats, tracks: Sequence[int], in_view: Sequence[int], now_s: float) -> None:
        """Take in fresh probabilities (n, classes) of some tracks, a row each.

        tracks: their numbers. in_view: numbers of all tracks that may be seen again; what is known of others
        is forgotten.
        """
        for number in self._by_track.keys() - set(in_view):
            del self._by_track[number], self._felt[number]
        for number, row in zip(tracks, probs, strict=True):
            self._felt[number] = self._emotion(number, row, now_s)

    def of(self, number: int) -> Emotion | None:
        """How the track of this number looked last; None before it was read for the first time."""
        return self._felt.get(number)

    def _emotion(self, number: int, probs: Floats, now_s: float) -> Emotion:
        if number not in self._by_track:
            decision = Decision(self._model.manifest.labels, self._threshold)
            self._by_track[number] = Smoother(TIME_CONSTANT_S), decision
        smoother, decision = self._by_track[number]
        mean = smoother.update(probs, now_s)
        label, score = decision.choose(mean)
        return Emotion(label, score, dict(zip(self._model.manifest.labels, mean.tolist(), strict=True)))


class FaceReader(Protocol):
    """The model's part of the task; a recording can stand in for it."""

    def turn(self, frame: Frame, count: int) -> int:
        """How many faces to read in this frame, where `count` have their turn."""

    def feel(self, frame: Frame, faces: Sequence[Face], stages_ms: dict[str, float]) -> Floats:
        """Probabilities (faces, classes); the times of the stages go into `stages_ms`."""


class EmotionTask:
    """Reads the faces that the detector has seen, in turn; those that were never read come first.

    Each face is read once each time that the detector has seen it. How many are read in one frame depends on
    whether the frames come as time passes.

    stages_ms: takes the times of "align" and "emotion".
    """

    name, scope = EMOTION, "face"

    def __init__(
        self, model: EmotionModel, reader: FaceReader, schedule: Schedule, stages_ms: dict[str, float]
    ) -> None:
        self._recognizer = EmotionRecognizer(model)
        self._model, self._reader, self._schedule, self._stages_ms = model, reader, schedule, stages_ms
        self._met_s: dict[int, float] = {}  # by track: when it was last in view
        self._read_s: dict[int, float] = {}  # when it was last read
        self._read_of_s: dict[int, float] = {}  # when the detector had seen what was read

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Mapping[int, Emotion] | None:
        """The emotions of the faces whose turn it is."""
        self._meet(frame, faces)
        waiting = [face for face in faces if self._read_of_s.get(face.track) != face.seen_s]
        if not waiting:
            return None
        waiting.sort(key=lambda face: self._read_s.get(face.track, -math.inf))
        turn = waiting[: self._reader.turn(frame, self._at_once(frame, waiting))]
        probs = self._reader.feel(frame, [_detected(face) for face in turn], self._stages_ms)
        numbers = [face.track for face in turn]
        self._recognizer.update(probs, numbers, list(self._met_s), frame.pts_s)
        self._read_s |= dict.fromkeys(numbers, frame.pts_s)
        self._read_of_s |= {face.track: face.seen_s for face in turn}
        return {number: emotion for number in numbers if (emotion := self._recognizer.of(number)) is not None}

    def reset(self) -> None:
        """Forget every face."""
        self._recognizer.reset()
        for known in (self._met_s, self._read_s, self._read_of_s):
            known.clear()

    def close(self) -> None:
        """End what goes on beside the graph."""
        self._model.close()

    def _meet(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        """Note who is in view; a face out of view for longer than a track lasts is forgotten."""
        self._met_s |= dict.fromkeys((face.track for face in faces), frame.pts_s)
        for number, met_s in list(self._met_s.items()):
            if not 0 <= frame.pts_s - met_s <= LONGEST_KEEP_S:
                for known in (self._met_s, self._read_s, self._read_of_s):
                    known.pop(number, None)

    def _at_once(self, frame: Frame, waiting: Sequence[TrackedFace]) -> int:
        """How many faces to read in this frame. As time passes few, so that a crowd delays nothing."""
        if frame.still or not self._schedule.wanted_s:
            return len(waiting)
        new = 0 if self._schedule.paced else sum(face.track not in self._read_s for face in waiting)
        return max(FACES_AT_ONCE, new)


def _detected(face: TrackedFace) -> Face:
    assert face.detected is not None, "the pipeline's faces come from a detector"
    return face.detected
