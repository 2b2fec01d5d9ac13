"""The task "emotion": classifies faces in batches, and averages the probabilities of each track over time.

A blurred or half-hidden face gives an uncertain reading. So readings are weighted by their certainty, which
allows a shorter time constant: in webcam clips labels change no more often, and a new one appears sooner.
"""

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
from edgeharfer.runtime.lookahead import SampleGrid
from edgeharfer.runtime.schedule import Schedule
from edgeharfer.runtime.tasks import EMOTION, TASKS
from edgeharfer.runtime.tasks.base import NOTHING_NEW, Step
from edgeharfer.runtime.tasks.packaged import ModelRunner
from edgeharfer.runtime.tasks.pictures import PictureModel
from edgeharfer.runtime.tasks.smoothing import FACE_HYSTERESIS, LabelDecision, Smoother
from edgeharfer.runtime.types import Emotion, Face, Floats, Frame, Image, TrackedFace

TIME_CONSTANT_S = 0.25
"""Time constant of the average of a face's probabilities, which are weighted by their certainty."""
PRIORS = ("package", "data", "balanced", "uniform")


class EmotionModel(PictureModel):
    """The graph of an emotion package: faces of a frame to probabilities.

    Args:
        package: A loaded package.
        backend: Where and how the graph runs.
        prior: Class prior that the probabilities assume, one of PRIORS (see `prior_weights`).
        clock: Source of time; the system's by default.

    Raises:
        ConfigError: The prior is unknown, or the package does not support it.
        ModelError: See `TaskModel`.
        ProviderError: See `TaskModel`.
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
        """Whether pictures of a data set are cropped like live faces.

        Otherwise they are used whole, because the model was trained on whole pictures with the same framing.
        """
        return self.manifest.options.get("portraits") == "cut"

    def classify(self, pictures: Sequence[Image]) -> Floats:
        """Classify cropped faces of any size, uint8; return probabilities, float32, (n, classes)."""
        return reweight(super().classify(pictures), self._weights)


def prior_weights(manifest: Manifest, prior: str) -> Floats | None:
    """Return factors for the class probabilities that replace the prior of the training data.

    By Bayes' rule, p'(class | face) is proportional to p(class | face) * prior'(class) / prior(class), where
    prior(class) is the share of the class in the training data (Saerens, Latinne and Decaestecker 2002,
    "Adjusting the Outputs of a Classifier to New a Priori Probabilities").

    Args:
        manifest: Manifest of an emotion package.
        prior: "data": the shares of the training data. "balanced": the more even shares recorded in the
            package, else equal shares. "uniform": equal shares. "package": "balanced" if the package records
            such shares, else "data".

    Returns:
        The factors, float32, (classes,); None if the probabilities remain as trained.

    Raises:
        ConfigError: The prior is unknown, or the package does not record the shares of its training data.
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
    """Return the quotient of two class priors, (classes,), limited for classes without training data."""
    return (wanted / np.maximum(trained, 1e-6)).astype(np.float32)


def reweight(probs: Floats, weights: Floats | None) -> Floats:
    """Multiply probabilities, (n, classes), by weights, (classes,), and normalize each row to a sum of 1."""
    if weights is None:
        return probs
    weighted = probs * weights
    result: Floats = weighted / weighted.sum(axis=1, keepdims=True)
    return result


class EmotionRecognizer:
    """Averages the probabilities of each tracked face over time and chooses its label.

    Args:
        model: The model that gives the probabilities; its manifest has the labels.
        threshold: Minimum probability of a label; by default that of the manifest.
        time_constant_s: Time constant of the average in seconds; 0 does not average.
    """

    def __init__(
        self, model: EmotionModel, *, threshold: float | None = None, time_constant_s: float = TIME_CONSTANT_S
    ) -> None:
        self._model, self._time_constant_s = model, time_constant_s
        self._threshold = model.manifest.threshold if threshold is None else threshold
        self._by_track: dict[int, tuple[Smoother, LabelDecision]] = {}
        self._emotions: dict[int, Emotion] = {}

    def reset(self) -> None:
        """Discard the state of all faces."""
        self._by_track.clear()
        self._emotions.clear()

    def update(self, probs: Floats, tracks: Sequence[int], in_view: Sequence[int], now_s: float) -> None:
        """Add new probabilities.

        Args:
            probs: Float32, (n, classes), one row for each of `tracks`.
            tracks: Track numbers of the rows.
            in_view: Track numbers that may occur again. The state of other tracks is discarded.
            now_s: Source time in seconds.
        """
        for number in self._by_track.keys() - set(in_view):
            del self._by_track[number], self._emotions[number]
        for number, row in zip(tracks, probs, strict=True):
            self._emotions[number] = self._emotion(number, row, now_s)

    def latest(self, number: int) -> Emotion | None:
        """Return the last emotion of a track, or None if it has not been read yet."""
        return self._emotions.get(number)

    def _emotion(self, number: int, probs: Floats, now_s: float) -> Emotion:
        if number not in self._by_track:
            decision = LabelDecision(self._model.manifest.labels, self._threshold, FACE_HYSTERESIS)
            self._by_track[number] = Smoother(self._time_constant_s, by_certainty=True), decision
        smoother, decision = self._by_track[number]
        mean = smoother.update(probs, now_s)
        label, score = decision.choose(mean)
        return Emotion(label, score, dict(zip(self._model.manifest.labels, mean.tolist(), strict=True)))


class EmotionTask:
    """Reads each face once per detection, new faces first, then those read longest ago.

    The schedule decides how many faces are read in one frame, and whether probabilities are averaged.
    """

    name, scope = EMOTION, "face"
    grids: tuple[SampleGrid, ...] | None = ()

    def __init__(self, model: EmotionModel, runner: ModelRunner, schedule: Schedule, clock: Clock) -> None:
        time_constant_s = TIME_CONSTANT_S if schedule.smooths_faces else 0.0
        self._recognizer = EmotionRecognizer(model, time_constant_s=time_constant_s)
        self._runner, self._schedule = runner, schedule
        self._in_view_s: dict[int, float] = {}  # by track: when it was last in view
        self._read_s: dict[int, float] = {}  # by track: when it was last read
        self._detection_s: dict[int, float] = {}  # by track: time of the detection that was last read

    def step(self, frame: Frame, faces: Sequence[TrackedFace]) -> Step:
        """Return the emotions of the faces that are read in this frame."""
        self._record_in_view(frame, faces)
        waiting = [face for face in faces if self._detection_s.get(face.track) != face.seen_s]
        if not waiting:
            return NOTHING_NEW
        waiting.sort(key=lambda face: self._read_s.get(face.track, -math.inf))
        turn = waiting[: self._runner.faces_to_read(self.name, frame, self._count(frame, waiting))]
        probs, stages_ms = self._runner.classify_faces(self.name, frame, [_detected(face) for face in turn])
        numbers = [face.track for face in turn]
        self._recognizer.update(probs, numbers, list(self._in_view_s), frame.pts_s)
        self._read_s |= dict.fromkeys(numbers, frame.pts_s)
        self._detection_s |= {face.track: face.seen_s for face in turn}
        emotions = {number: self._recognizer.latest(number) for number in numbers}
        return Step({number: emotion for number, emotion in emotions.items() if emotion}, stages_ms)

    def precompute(self, frame: Frame, previous_s: float) -> None:
        """See `PackagedTask`: which faces will be read is only known once they are found."""
        return

    def reset(self) -> None:
        """Discard the state of all faces."""
        self._recognizer.reset()
        for state in (self._in_view_s, self._read_s, self._detection_s):
            state.clear()

    def _record_in_view(self, frame: Frame, faces: Sequence[TrackedFace]) -> None:
        """Record the faces in view, and discard those out of view for longer than a track lasts."""
        for face in faces:
            self._in_view_s[face.track] = frame.pts_s
        if len(self._in_view_s) == len(faces):
            return
        for number, last_s in list(self._in_view_s.items()):
            if not 0 <= frame.pts_s - last_s <= MAX_TRACK_GAP_S:
                for state in (self._in_view_s, self._read_s, self._detection_s):
                    state.pop(number, None)

    def _count(self, frame: Frame, waiting: Sequence[TrackedFace]) -> int:
        """Return how many faces to read in this frame; all for a photograph."""
        if frame.still:
            return len(waiting)
        return self._schedule.faces_at_once(
            len(waiting), new=sum(face.track not in self._read_s for face in waiting)
        )


def _detected(face: TrackedFace) -> Face:
    assert face.detected is not None, "the pipeline's faces come from a detector"
    return face.detected
