"""The task emotion: faces of a frame in one batch, each track's probabilities averaged over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeharfer.runtime.clock import Clock
from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.faces.tracks import MAX_TRACK_GAP_S
from edgeharfer.runtime.inference.backend import CPU, Backend
from edgeharfer.runtime.inference.manifest import Manifest
from edgeharfer.runtime.inference.package import Package
from edgeharfer.runtime.schedule import Schedule
from edgeharfer.runtime.tasks import EMOTION, TASKS
from edgeharfer.runtime.tasks.base import NOTHING_NEW, Step
from edgeharfer.runtime.tasks.packaged import ModelRunner
from edgeharfer.runtime.tasks.pictures import PictureModel
from edgeharfer.runtime.tasks.smoothing import LabelDecision, Smoother
from edgeharfer.runtime.types import Emotion, Face, Floats, Frame, Image, TrackedFace

TIME_CONSTANT_S = 0.35
PRIORS = ("package", "data", "balanced", "uniform")


class EmotionModel(PictureModel):
    """The graph of an emotion package: faces of a frame to probabilities.

    Args:
        backend: Where and how it runs.
        prior: One of PRIORS, the class shares that the probabilities assume.
    """

    stages = TASKS[EMOTION].stages

    def __init__(
        self,
        package: Package,
        backend: Backend = CPU,
        *,
        prior: str = "package",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(package, backend, clock=clock)
        self._weights = prior_weights(self.manifest, prior)

    @property
    def cuts_portraits(self) -> bool:
        """Whether the pictures of a data set are cut like live faces; else they are taken whole.

        A model that was trained on whole pictures knows faces framed as there, and those it gets.
        """
        return self.manifest.options.get("portraits") == "cut"

    def classify(self, pictures: Sequence[Image]) -> Floats:
        """Cut faces, uint8 of any size -> probabilities (n, classes)."""
        return reweight(super().classify(pictures), self._weights)


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
    return prior_ratio(target, np.asarray(trained))


def prior_ratio(wanted: NDArray[np.float64], trained: NDArray[np.float64]) -> Floats:
    """Weights from one set of class shares to another; a class that was never taught stays near zero."""
    return (wanted / np.maximum(trained, 1e-6)).astype(np.float32)


def reweight(probs: Floats, weights: Floats | None) -> Floats:
    """Probabilities (n, classes) times weights (classes,), each row summing to 1 again."""
    if weights is None:
        return probs
    weighted = probs * weights
    result: Floats = weighted / weighted.sum(axis=1, keepdims=True)
    return result


class EmotionRecognizer:
    """How each tracked face looks, frame by frame.

    time_constant_s: of the average over time; 0 gives the probabilities of each picture alone.
    """

    def __init__(
        self, model: EmotionModel, *, threshold: float | None = None, time_constant_s: float = TIME_CONSTANT_S
    ) -> None:
        self._model, self._time_constant_s = model, time_constant_s
        self._threshold = model.manifest.threshold if threshold is None else threshold
        self._by_track: dict[int, tuple[Smoother, LabelDecision]] = {}
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
            decision = LabelDecision(self._model.manifest.labels, self._threshold)
            self._by_track[number] = Smoother(self._time_constant_s), decision
        smoother, decision = self._by_track[number]
        mean = smoother.update(probs, now_s)
        label, score = decision.choose(mean)
        return Emotion(label, score, dict(zip(self._model.manifest.labels, mean.tolist(), strict=True)))


class EmotionTask:
    """Reads the faces that the detector has seen, in turn; those that were never read come first.

    Each face is read once each time that the detector has seen it. The schedule decides how many are read in
    one frame, and whether probabilities are averaged over time.
    """

    name, scope = EMOTION, "face"

    def __init__(self, model: EmotionModel, reader: ModelRunner, schedule: Schedule, clock: Clock) -> None:
        time_constant_s = TIME_CONSTANT_S if schedule.smooths_faces else 0.0
        self._recognizer = EmotionRecognizer(model, time_constant_s=time_constant_s)
        self._reader, self._schedule = reader, schedule
        self._met_s: dict[int, float] = {}  # by track: when it was last in view
        self._read_s: dict[int, float] = {}  # when it was last read
        self._read_of_s: dict[int, float] = {}  # when the detector had seen what was read

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Step:
        """The emotions of the faces whose turn it is."""
        self._meet(frame, faces)
        waiting = [face for face in faces if self._read_of_s.get(face.track) != face.seen_s]
        if not waiting:
            return NOTHING_NEW
        waiting.sort(key=lambda face: self._read_s.get(face.track, -math.inf))
        turn = waiting[: self._reader.faces_to_read(self.name, frame, self._count(frame, waiting))]
        probs, stages_ms = self._reader.classify_faces(self.name, frame, [_detected(face) for face in turn])
        numbers = [face.track for face in turn]
        self._recognizer.update(probs, numbers, list(self._met_s), frame.pts_s)
        self._read_s |= dict.fromkeys(numbers, frame.pts_s)
        self._read_of_s |= {face.track: face.seen_s for face in turn}
        emotions = {number: self._recognizer.of(number) for number in numbers}
        return Step({number: emotion for number, emotion in emotions.items() if emotion}, stages_ms)

    def reset(self) -> None:
        """Forget every face."""
        self._recognizer.reset()
        for known in (self._met_s, self._read_s, self._read_of_s):
            known.clear()

    def _meet(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        """Note who is in view; a face out of view for longer than a track lasts is forgotten."""
        self._met_s |= dict.fromkeys((face.track for face in faces), frame.pts_s)
        for number, met_s in list(self._met_s.items()):
            if not 0 <= frame.pts_s - met_s <= MAX_TRACK_GAP_S:
                for known in (self._met_s, self._read_s, self._read_of_s):
                    known.pop(number, None)

    def _count(self, frame: Frame, waiting: Sequence[TrackedFace]) -> int:
        """How many faces to read in this frame; of a photograph all."""
        if frame.still:
            return len(waiting)
        return self._schedule.faces_at_once(
            len(waiting), new=sum(face.track not in self._read_s for face in waiting)
        )


def _detected(face: TrackedFace) -> Face:
    assert face.detected is not None, "the pipeline's faces come from a detector"
    return face.detected
