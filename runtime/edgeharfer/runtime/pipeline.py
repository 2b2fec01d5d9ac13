"""A frame goes in, a result comes out: faces, their emotions, and what goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgeharfer.runtime.action import ActionModel, ActionRecognizer
from edgeharfer.runtime.capture import Capture, Pace
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.emotion import EmotionModel, EmotionRecognizer
from edgeharfer.runtime.faces import DEFAULT_DETECTOR, make_detector
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.tracks import Track, Tracker
from edgeharfer.runtime.package import Package, load_package
from edgeharfer.runtime.schedule import Schedule
from edgeharfer.runtime.senses import Senses
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.types import Action, Frame, Result, TrackedFace

DEFAULT_ACTION = "action-ucf20"
DEFAULT_EMOTION = "emotion-fer8"
FACES_AT_ONCE = 1
"""Faces whose emotion is computed in one frame; the others have their turn in the next ones.

Where frames do not come as time passes, new faces are all read in the frame that shows them first."""
FACE_INTERVAL_S = 0.1
"""From one look for faces to the next; between them faces are taken to move on as they did."""

PackageName = str | Path | Package | None
SensesFactory = Callable[[Detector, EmotionModel | None, ActionModel | None], Senses]


class Pipeline:
    """The models, and what they remember of the frames before.

    action, emotion: a shipped package's name, a folder, a loaded package, or None for off.
    detector: a name of `DETECTORS`, or a `Detector`.
    provider: "auto", "cpu", "cuda" or "tensorrt"; precision: "auto", "fp32", "fp16" or "int8".
    threads: of one operator; None is as tuned for this device, or one.
    prior: of the emotions, one of `emotion.PRIORS`.
    face_interval_s: from one look for faces to the next, after which their emotions are looked at, one in
    each frame; twice as long while all faces keep still; 0 is all in every frame. Where the frames come as
    time passes and there is too little of it, looks become rarer (see `Schedule`).
    senses: makes of the models what looks at the frames; a recorder or a player of recordings.
    at_once: where an engine of TensorRT has to be built, which takes minutes, do so in processes beside, and
    go on with it when it is done. `close`, or the end of the program, ends what is not done by then.

        for result in Pipeline().run(open_source("clip.mp4")):
            print(result.action, result.faces)

    Raises ModelError for a package that cannot be trusted or run, ProviderError for a provider that was
    asked for and is not there, MissingExtra for a part that is not installed.
    """

    def __init__(
        self,
        *,
        action: PackageName = DEFAULT_ACTION,
        emotion: PackageName = DEFAULT_EMOTION,
        detector: str | Detector = DEFAULT_DETECTOR,
        provider: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        allow_fallback: bool = False,
        prior: str = "package",
        face_interval_s: float = FACE_INTERVAL_S,
        senses: SensesFactory = Senses,
        at_once: bool = True,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._parts = ExitStack()
        self._action_model = self._emotion_model = None
        how: dict[str, Any] = {
            "provider": provider,
            "threads": threads,
            "fallback": allow_fallback,
            "at_once": at_once,
        }
        if (package := _load(action, "action")) is not None:
            self._action_model = ActionModel(package, precision=precision, **how)
            self._parts.callback(self._action_model.close)
            self._action = ActionRecognizer(self._action_model, clock=self._clock)
        if (package := _load(emotion, "emotion")) is not None:
            self._emotion_model = EmotionModel(package, precision=precision, prior=prior, **how)
            self._parts.callback(self._emotion_model.close)
            self._emotion = EmotionRecognizer(self._emotion_model)
        if isinstance(detector, str):
            detector = make_detector(detector, **how)
            self._parts.callback(detector.close)
        self._senses = senses(detector, self._emotion_model, self._action_model)
        self._tracker = Tracker()
        self._schedule = Schedule(face_interval_s)
        self._in_view: list[Track] = []
        self._waiting: list[Track] = []
        self._felt_s: dict[int, float] = {}

    @property
    def providers(self) -> dict[str, str]:
        """Where each part really runs, in ONNX Runtime's words."""
        found = {"faces": self._senses.detector.provider}
        if self._emotion_model:
            found["emotion"] = self._emotion_model.session.provider
        if self._action_model:
            found["action"] = self._action_model.encoder.provider
        return found

    @property
    def models(self) -> dict[str, str]:
        """Name and precision of each package in use."""
        used = {"action": self._action_model, "emotion": self._emotion_model}
        return {task: f"{model.manifest.name} {model.precision}" for task, model in used.items() if model}

    def warm_up(self) -> None:
        """Run every graph once in each shape, so that the first result is not slower than the rest."""
        self._senses.detector.warm_up()
        for model in (self._emotion_model, self._action_model):
            if model:
                model.warm_up()

    def keep_pace(self, max_age_ms: float | None = None) -> None:
        """Frames come as time passes: under load faces are looked for less often, before all else.

        max_age_ms: what a result's frame may be old; a look that would make it older waits.
        """
        self._schedule.keep_pace(None if max_age_ms is None else max_age_ms / 1e3)

    def close(self) -> None:
        """End what goes on beside, and the detector where it was named. Nothing is to be run afterwards."""
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def reset(self) -> None:
        """Forget all frames seen: for another source."""
        self._senses.reset()
        self._schedule.reset()
        self._forget_faces()
        if self._action_model:
            self._action.reset()

    def run(self, source: Source, *, pace: Pace = "fast") -> Iterator[Result]:
        """Results of a source's frames, which is closed at the end.

        pace "fast": every frame of a file as quickly as it goes; "realtime": as time passes, and where
        that is too quick the newest frame counts. Live sources are always in real time.
        """
        self.reset()
        self.warm_up()
        if pace == "realtime" or source.live:
            self.keep_pace()
        with source, Capture(source, pace=pace, clock=self._clock) as capture:
            breaks = 0
            for frame in capture:
                if capture.breaks != breaks:
                    breaks = capture.breaks
                    self.reset()
                yield self.process(frame)

    def process(self, frame: Frame) -> Result:
        """What is known after this frame. Frames of one source come in order of time."""
        stages_ms: dict[str, float] = {}
        start = self._clock.monotonic()
        cut = not frame.still and self._senses.cut(frame)
        if frame.still or cut:
            self._forget_faces()
        action = self._act(frame, stages_ms, cut)
        acted = self._clock.monotonic()
        faces = self._faces(frame, acted, stages_ms)
        seen = self._clock.monotonic()
        self._senses.done(frame)
        end = self._clock.monotonic()
        self._schedule.worked(frame.pts_s, end - seen + acted - start)
        stages_ms["total"] = (end - start) * 1e3
        age_ms = (end - frame.captured_s) * 1e3
        return Result(frame.seq, frame.pts_s, age_ms, faces, action, stages_ms, cut)

    def _act(self, frame: Frame, stages_ms: dict[str, float], cut: bool) -> Action | None:
        """What goes on; a photograph has no course of time, so nothing goes on in it."""
        if self._action_model is None or frame.still:
            return None
        if cut:
            self._action.reset()
        return self._action.step(frame, stages_ms, self._senses.encode)

    def _faces(self, frame: Frame, start: float, stages_ms: dict[str, float]) -> tuple[TrackedFace, ...]:
        due = frame.still or self._schedule.due(frame.pts_s, start - frame.captured_s)
        if self._senses.look(frame, due):
            found = self._senses.find(frame, self._tracker.known_boxes)
            self._in_view = self._tracker.update(found, frame.pts_s)
            stages_ms["detect"] = (self._clock.monotonic() - start) * 1e3
            self._waiting = list(self._in_view)
            self._feel(frame, stages_ms)
            calm = bool(self._in_view) and all(track.calm for track in self._in_view)
            self._schedule.looked(frame.pts_s, self._clock.monotonic() - start, calm=calm)
        else:
            self._feel(frame, stages_ms)
        return tuple(self._told(track, frame.pts_s) for track in self._in_view)

    def _feel(self, frame: Frame, stages_ms: dict[str, float]) -> None:
        """Emotions of faces that were seen, in turn; those that were never read come first."""
        if not self._emotion_model or not self._waiting:
            return
        self._waiting.sort(key=lambda track: self._felt_s.get(track.number, -math.inf))
        count = self._senses.turn(frame, self._at_once(frame))
        turn, self._waiting = self._waiting[:count], self._waiting[count:]
        probs = self._senses.feel(frame, [track.face_at(frame.pts_s) for track in turn], stages_ms)
        numbers = self._tracker.numbers
        self._emotion.update(probs, turn, numbers, frame.pts_s)
        self._felt_s = {number: at_s for number, at_s in self._felt_s.items() if number in numbers}
        self._felt_s |= dict.fromkeys((track.number for track in turn), frame.pts_s)

    def _at_once(self, frame: Frame) -> int:
        """How many faces to read in this frame. As time passes few, so that a crowd delays nothing."""
        if frame.still or not self._schedule.wanted_s:
            return len(self._waiting)
        new = 0 if self._schedule.paced else sum(track.number not in self._felt_s for track in self._waiting)
        return max(FACES_AT_ONCE, new)

    def _told(self, track: Track, now_s: float) -> TrackedFace:
        emotion = self._emotion.of(track.number) if self._emotion_model else None
        return TrackedFace(track.number, track.box_at(now_s), track.face.score, emotion)

    def _forget_faces(self) -> None:
        self._tracker.reset()
        self._schedule.forget()
        self._in_view, self._waiting, self._felt_s = [], [], {}
        if self._emotion_model:
            self._emotion.reset()


def _load(package: PackageName, task: str) -> Package | None:
    if package is None or isinstance(package, Package):
        return package
    return load_package(package, task)
