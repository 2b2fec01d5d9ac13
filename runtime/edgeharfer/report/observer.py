"""Watches a source to its end: emotions at a rate of their own, actions in their own windows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeharfer.report.record import (
    BOX_DIGITS,
    PROBABILITY_DIGITS,
    SCORE_DIGITS,
    TIME_DIGITS,
    VALUE_DIGITS,
    Reading,
    Recording,
    Sample,
    Sighting,
)
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.clock import SystemClock
from edgeharfer.runtime.cuts import CutFinder
from edgeharfer.runtime.faces import DEFAULT_DETECTOR, make_detector
from edgeharfer.runtime.faces.search import FaceFinder
from edgeharfer.runtime.faces.tracks import Track, Tracker
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.manifest import Manifest, WindowSpec
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.tasks import ACTION, EMOTION
from edgeharfer.runtime.tasks.action import ActionModel, ActionRecognizer
from edgeharfer.runtime.tasks.base import Task
from edgeharfer.runtime.tasks.checked import CheckedTask, check_names
from edgeharfer.runtime.tasks.emotion import EmotionModel
from edgeharfer.runtime.types import Box, Frame, TrackedFace

DEFAULT_FPS = 4.0
TRACKING_FPS = 8.0
"""Faces are looked for at least so often, so that a track does not have to span long moves."""
_SLACK_S = 1e-5
"""Times of frames are rounded to microseconds, and one that is short of a point by that is not late."""

Tell = Callable[[int], None]
Watch = Callable[[Frame, Sample], None]


@dataclass(frozen=True)
class ModelFacts:
    """What a report says of a model. files: name and SHA-256 of each file that was used."""

    name: str
    precision: str
    labels: tuple[str, ...]
    threshold: float
    files: Mapping[str, str]
    accuracy: Mapping[str, object] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """One hash for the model, 64 hex digits: its file's, or that of `sha256sum`'s lines for its files."""
        if len(self.files) == 1:
            return next(iter(self.files.values()))
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class Method:
    """How an input was watched. providers: where each part really ran, in ONNX Runtime's words."""

    fps: float
    detector: str
    prior: str
    emotion: ModelFacts | None
    action: ModelFacts | None
    window: WindowSpec | None
    providers: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions by name; none when they are off."""
        return self.emotion.labels if self.emotion else ()


class Grid:
    """Picks the first frame at or after each point of a grid in time, `fps` points a second."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._taken = -1

    def wants(self, time_s: float) -> bool:
        """Whether the frame at this time is one. Times ascend."""
        point = math.floor((time_s + _SLACK_S) * self._fps)
        if point <= self._taken:
            return False
        self._taken = point
        return True


class Observer:
    """The models of a report, for any number of inputs, one after the other.

    fps: samples of emotions a second; a slower source gives each of its frames. extra_tasks: those
    of faces are asked at each sample, and their `value_names` and `labels` become columns. Other options as
    those of `edgeharfer.runtime.Pipeline`. Raises what it raises.
    """

    def __init__(
        self,
        *,
        fps: float = DEFAULT_FPS,
        action: str | Package | None = "action-ucf20",
        emotion: str | Package | None = "emotion-fer8",
        detector: str = DEFAULT_DETECTOR,
        backend: Backend | None = None,
        prior: str = "package",
        extra_tasks: Sequence[Task] = (),
    ) -> None:
        check_names(extra_tasks)
        backend = backend or Backend()
        self._fps = fps
        self._detector = make_detector(detector, backend)
        self._emotion = self._action = None
        emotion_facts = action_facts = None
        if (package := _load(emotion, EMOTION)) is not None:
            self._emotion = EmotionModel(package, backend, prior=prior)
            emotion_facts = facts_of(package.manifest, self._emotion.precision)
        if (package := _load(action, ACTION)) is not None:
            self._action = ActionModel(package, backend)
            action_facts = facts_of(package.manifest, self._action.precision)
        window = self._action.window if self._action else None
        self._tasks = [CheckedTask(task, {}, SystemClock()) for task in extra_tasks if task.scope == "face"]
        self.method = Method(fps, detector, prior, emotion_facts, action_facts, window, self._providers())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers of further tasks for each face: values, and probabilities of classes."""
        return tuple(column for task in self._tasks for column in task.columns)

    def _providers(self) -> dict[str, str]:
        found = {"faces": self._detector.provider}
        if self._emotion:
            found[EMOTION] = self._emotion.session.provider
        if self._action:
            found[ACTION] = self._action.encoder.provider
        return found

    def warm_up(self) -> None:
        """Run every graph once, so that the time left is right from the start."""
        self._detector.warm_up()
        for model in (self._emotion, self._action):
            if model:
                model.warm_up()

    def watch(
        self,
        source: Source,
        *,
        duration_s: float | None = None,
        tell: Tell = lambda frames: None,
        stopping: Callable[[], bool] = lambda: False,
        see: Watch | None = None,
    ) -> Recording | None:
        """Everything of a source, which is closed at the end; None where it was stopped.

        duration_s: of the source, from its start. tell: told how many frames are done. stopping: asked
        before each frame. see: shown the frame of each sample; a picture is kept nowhere else.
        Raises SourceError where the source does.
        """
        recognizer = ActionRecognizer(self._action) if self._action else None
        finder = FaceFinder(self._detector)
        session = _Session(self._fps, finder, self._emotion, recognizer, self._tasks, source, see)
        with source, Capture(source, pace="fast") as capture:
            for frame in capture:
                if stopping():
                    return None
                if duration_s is not None and frame.pts_s >= duration_s:
                    break
                session.take(frame)
                tell(session.frames)
        return session.recording()


class _Session:
    """What is remembered while one source is watched."""

    def __init__(
        self,
        fps: float,
        finder: FaceFinder,
        emotion: EmotionModel | None,
        action: ActionRecognizer | None,
        tasks: Sequence[CheckedTask],
        source: Source,
        see: Watch | None,
    ) -> None:
        self.frames = 0
        self._finder, self._emotion, self._action, self._see = finder, emotion, action, see
        self._tasks = tasks
        self._reset_tasks()
        self._tracker = Tracker()
        self._cuts = CutFinder()
        self._cuts_s: list[float] = []
        self._sampling, self._tracking = Grid(fps), Grid(max(fps, TRACKING_FPS))
        self._samples: list[Sample] = []
        self._readings: list[Reading] = []
        self._first_s = self._last_s = 0.0
        self._frame_s = 1 / source.fps if source.fps else 0.0
        self._stills = False

    def take(self, frame: Frame) -> None:
        """One frame further."""
        self._stills = frame.still
        if frame.still:
            self._tracker.reset()
            self._reset_tasks()
        else:
            self._look_for_cut(frame)
            self._read_action(frame)
        sampled = frame.still or self._sampling.wants(frame.pts_s)
        if self._tracking.wants(frame.pts_s) or sampled:
            found = self._finder.find(frame, self._tracker.known_boxes)
            tracks = self._tracker.update(found, frame.pts_s)
            if sampled:
                self._sample(frame, tracks)
        self._first_s = self._first_s if self.frames else frame.pts_s
        self._last_s = frame.pts_s
        self.frames += 1

    def recording(self) -> Recording:
        """Everything so far."""
        return Recording(
            tuple(self._samples),
            tuple(self._readings),
            self._duration_s(),
            self.frames,
            self._stills,
            tuple(self._cuts_s),
            tuple(column for task in self._tasks for column in task.columns),
        )

    def _reset_tasks(self) -> None:
        for task in self._tasks:
            task.reset()

    def _duration_s(self) -> float:
        if self._stills:
            return 0.0
        span_s = self._last_s - self._first_s
        last_frame_s = span_s / (self.frames - 1) if self.frames > 1 else self._frame_s
        return round(span_s + last_frame_s, TIME_DIGITS)

    def _look_for_cut(self, frame: Frame) -> None:
        """At a cut nothing is carried over: faces get new numbers, and the window of actions starts again."""
        if not self._cuts.step(frame.bgr):
            return
        self._cuts_s.append(round(frame.pts_s, TIME_DIGITS))
        self._tracker.reset()
        self._reset_tasks()
        if self._action:
            self._action.reset()

    def _read_action(self, frame: Frame) -> None:
        if self._action is None:
            return
        stages_ms: dict[str, float] = {}
        action = self._action.step(frame, stages_ms)
        if "head" in stages_ms:  # a new answer, not the standing one
            time_s = round(frame.pts_s, TIME_DIGITS)
            self._readings.append(Reading(time_s, action.label, round(action.score, SCORE_DIGITS)))

    def _sample(self, frame: Frame, tracks: list[Track]) -> None:
        raw: list[tuple[float, ...]] = [()] * len(tracks)
        if self._emotion and tracks:
            probs = self._emotion.classify(self._emotion.cut(frame.bgr, [track.face for track in tracks]))
            raw = [tuple(round(p, PROBABILITY_DIGITS) for p in row) for row in probs.tolist()]
        values = self._values(frame, tracks)
        faces = tuple(
            Sighting(
                track.number,
                _rounded(track.box),
                round(float(track.face.score), SCORE_DIGITS),
                mine,
                values[track.number],
            )
            for track, mine in zip(tracks, raw, strict=True)
        )
        picture = Path(frame.file).name if frame.still else ""
        sample = Sample(round(frame.pts_s, TIME_DIGITS), frame.seq, picture, faces)
        self._samples.append(sample)
        if self._see:
            self._see(frame, sample)

    def _values(self, frame: Frame, tracks: Sequence[Track]) -> dict[int, tuple[float | None, ...]]:
        """What further tasks say of each track, in the order of the columns."""
        faces = [
            TrackedFace(track.number, track.box, track.face.score, {}, track.face, seen_s=track.seen_s)
            for track in tracks
        ]
        found: dict[int, list[float | None]] = {track.number: [] for track in tracks}
        for task in self._tasks:
            readings = task.step(frame, faces)
            known = readings if isinstance(readings, Mapping) else {}
            for number, mine in found.items():
                mine += map(_value, task.numbers(known.get(number)))
        return {number: tuple(mine) for number, mine in found.items()}


def _value(value: float | None) -> float | None:
    """As it stands in `frames.csv`; None for none, and for one that is no number."""
    return None if value is None or not math.isfinite(value) else round(float(value), VALUE_DIGITS)


def facts_of(manifest: Manifest, precision: str) -> ModelFacts:
    """The facts of a model in use."""
    files = {spec.file: spec.sha256 for spec in manifest.files[precision].values()}
    return ModelFacts(manifest.name, precision, manifest.labels, manifest.threshold, files, manifest.accuracy)


def _rounded(box: Box) -> Box:
    values = (box.x, box.y, box.width, box.height)
    return Box(*(round(float(value), BOX_DIGITS) for value in values))


def _load(package: str | Package | None, task: str) -> Package | None:
    return load_package(package, task) if isinstance(package, str) else package
