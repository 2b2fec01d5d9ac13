"""A frame goes in, a result comes out: faces, their emotions, and what goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeharfer.runtime.action import ActionModel, ActionRecognizer
from edgeharfer.runtime.capture import Capture, Pace
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.emotion import EmotionModel, EmotionRecognizer
from edgeharfer.runtime.faces import make_detector
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.search import FaceFinder
from edgeharfer.runtime.faces.tracks import Track, Tracker
from edgeharfer.runtime.package import Package, load_package
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.types import Emotion, Frame, Result, TrackedFace

DEFAULT_ACTION = "action-ucf20"
DEFAULT_EMOTION = "emotion-fer8"

PackageName = str | Path | Package | None


class Pipeline:
    """The models, and what they remember of the frames before.

    action, emotion: a shipped package's name, a folder, a loaded package, or None for off.
    detector: "blazeface", "mediapipe", "haar", or an object that does the same.
    provider: "auto", "cpu", "cuda" or "tensorrt"; precision: "auto", "fp32", "fp16" or "int8".
    threads: of one operator. prior: of the emotions, "package", "data" or "balanced".

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
        detector: str | Detector = "blazeface",
        provider: str = "auto",
        precision: str = "auto",
        threads: int = 1,
        allow_fallback: bool = False,
        prior: str = "package",
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._action_model = self._emotion_model = None
        if (package := _load(action, "action")) is not None:
            self._action_model = ActionModel(
                package, provider=provider, precision=precision, threads=threads, fallback=allow_fallback
            )
            self._action = ActionRecognizer(self._action_model, clock=self._clock)
        if (package := _load(emotion, "emotion")) is not None:
            self._emotion_model = EmotionModel(
                package,
                provider=provider,
                precision=precision,
                threads=threads,
                fallback=allow_fallback,
                prior=prior,
            )
            self._emotion = EmotionRecognizer(self._emotion_model)
        if isinstance(detector, str):
            detector = make_detector(detector, provider=provider, threads=threads, fallback=allow_fallback)
        self._detector = detector
        self._finder = FaceFinder(detector)
        self._tracker = Tracker()

    @property
    def providers(self) -> dict[str, str]:
        """Where each part really runs, in ONNX Runtime's words."""
        found = {"faces": self._detector.provider}
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
        self._detector.warm_up()
        for model in (self._emotion_model, self._action_model):
            if model:
                model.warm_up()

    def reset(self) -> None:
        """Forget all frames seen: for another source."""
        self._finder.reset()
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
        with source, Capture(source, pace=pace, clock=self._clock) as capture:
            for frame in capture:
                yield self.process(frame)

    def process(self, frame: Frame) -> Result:
        """What is known after this frame. Frames of one source come in order of time."""
        stages_ms: dict[str, float] = {}
        start = self._clock.monotonic()
        if frame.still:
            self._forget_faces()
        faces = self._faces(frame, stages_ms)
        action = self._action.step(frame, stages_ms) if self._action_model else None
        end = self._clock.monotonic()
        stages_ms["total"] = (end - start) * 1e3
        return Result(frame.seq, frame.pts_s, (end - frame.captured_s) * 1e3, faces, action, stages_ms)

    def _faces(self, frame: Frame, stages_ms: dict[str, float]) -> tuple[TrackedFace, ...]:
        start = self._clock.monotonic()
        found = self._finder.find(frame, self._tracker.known_boxes)
        tracks = self._tracker.update(found, frame.pts_s)
        stages_ms["detect"] = (self._clock.monotonic() - start) * 1e3
        emotions = self._emotions(frame, tracks, stages_ms)
        return tuple(
            TrackedFace(track.number, track.box, track.face.score, emotion)
            for track, emotion in zip(tracks, emotions, strict=True)
        )

    def _emotions(
        self, frame: Frame, tracks: list[Track], stages_ms: dict[str, float]
    ) -> list[Emotion] | list[None]:
        if not self._emotion_model or not tracks:
            return [None] * len(tracks)
        start = self._clock.monotonic()
        crops = self._emotion_model.cut(frame.bgr, [track.face for track in tracks])
        aligned = self._clock.monotonic()
        probs = self._emotion_model.classify(crops)
        emotions = self._emotion.update(probs, tracks, self._tracker.numbers, frame.pts_s)
        stages_ms["align"] = (aligned - start) * 1e3
        stages_ms["emotion"] = (self._clock.monotonic() - aligned) * 1e3
        return emotions

    def _forget_faces(self) -> None:
        self._tracker.reset()
        if self._emotion_model:
            self._emotion.reset()


def _load(package: PackageName, task: str) -> Package | None:
    if package is None or isinstance(package, Package):
        return package
    return load_package(package, task)
