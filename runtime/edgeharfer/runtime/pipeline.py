"""A frame goes in, a result comes out: the faces, and what each task says of them and of the scene."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeharfer.runtime.capture import Capture, Pace
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import TaskError
from edgeharfer.runtime.faces import DEFAULT_DETECTOR, make_detector
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.tracks import Track, Tracker
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.perception import Perception
from edgeharfer.runtime.result import Result
from edgeharfer.runtime.schedule import LiveSchedule, Schedule
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.tasks import ACTION, EMOTION, PACKAGE_TASKS, TASKS, make_packaged_task, open_model
from edgeharfer.runtime.tasks.base import Step, Task
from edgeharfer.runtime.tasks.checked import CheckedTask, check_names
from edgeharfer.runtime.tasks.generic import GenericTask
from edgeharfer.runtime.tasks.packaged import PackagedTask, TaskModel
from edgeharfer.runtime.types import Frame, Image, Reading, TrackedFace, check_picture

DEFAULT_ACTION = TASKS[ACTION].package
DEFAULT_EMOTION = TASKS[EMOTION].package
FACE_INTERVAL_S = 0.1
"""From one look for faces to the next; between them faces are taken to move on as they did."""

PackageName = str | Path | Package | None
PerceptionFactory = Callable[[Detector, Mapping[str, TaskModel]], Perception]


class Pipeline(Closing):
    """The models and tasks, and what they remember of the frames before.

        with Pipeline() as pipeline:
            for result in pipeline.run(open_source("clip.mp4")):
                print(result.action, result.faces)

    A pipeline belongs to one thread at a time: `process`, `frames`, `run`, `reset`, `disable`, `enable` and
    `close` are never called at once. `labels`, `models` and `providers` can be read from any thread. Use one
    pipeline for each source that is read at the same time.

    Args:
        action: A shipped package's name, a folder, a loaded package, or None for off.
        emotion: The same.
        detector: A name of `DETECTORS`, or a `Detector`.
        provider: What `--provider` takes: "auto", "cpu", "cuda" or "tensorrt".
        precision: "auto", "fp32", "fp16" or "int8".
        threads: ONNX Runtime intra-op threads; None is as tuned for this device, or one.
        allow_fallback: Use the next best provider where that one does not load.
        backend: All of these in one value, in their place.
        prior: Of the emotions, one of `tasks.emotion.PRIORS`.
        face_interval_s: From one look for faces to the next, after which their emotions are looked at, one
            in each frame; twice as long while all faces keep still; 0 is all in every frame. Where the frames
            come as time passes and there is too little of it, looks become rarer (see `Schedule`).
        packages: Those of further tasks of `tasks.TASKS`, by the name of the task.
        extra_tasks: Further tasks (see `Task`), which run after those with packages in this order. The
            pipeline closes them.
        background_build: Where TensorRT has no engine for a graph yet, run on the next best provider while a
            child process builds it, for minutes, then switch to it. `close`, or the end of the program, ends
            what is not built by then.
        perception: Made of the detector and the models, it runs them: a recorder or replayer, for instance.
        schedule: When faces are looked for and read, in place of `face_interval_s`: a `SamplingSchedule`
            reads all of them at a fixed rate.

    Raises:
        ModelError: A package cannot be trusted or run.
        ProviderError: A provider was asked for and is not there.
        MissingExtra: A part is not installed.
        TaskError: Two tasks have one name, or a task's name or scope cannot be used.
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
        backend: Backend | None = None,
        prior: str = "package",
        face_interval_s: float = FACE_INTERVAL_S,
        packages: Mapping[str, PackageName] | None = None,
        extra_tasks: Sequence[Task] = (),
        background_build: bool = True,
        perception: PerceptionFactory = Perception,
        schedule: Schedule | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_names(extra_tasks)
        self._clock = clock or SystemClock()
        self._parts = ExitStack()
        backend = backend or Backend.parse(
            provider, precision=precision, threads=threads, fallback=allow_fallback
        )
        backend = replace(backend, background_build=background_build)
        self._schedule = schedule or LiveSchedule(face_interval_s)
        loaded = _load_packages(action=action, emotion=emotion, **(packages or {}))
        options = {"prior": prior, "clock": self._clock}
        models = {task: open_model(package, backend, options, task) for task, package in loaded.items()}
        if isinstance(detector, str):
            detector = make_detector(detector, backend)
            self._parts.callback(detector.close)
        self._perception = perception(detector, models)
        self._tasks: dict[str, PackagedTask] = {
            task: make_packaged_task(task, model, self._perception, self._schedule, self._clock)
            for task, model in models.items()
        }
        generic = {task.name: task.model for task in extra_tasks if isinstance(task, GenericTask)}
        self._task_models: dict[str, TaskModel] = {**models, **generic}
        self._further = [CheckedTask(task, self._clock) for task in extra_tasks]
        self._tasks |= {task.name: task for task in self._further}
        for model in models.values():
            self._parts.callback(model.close)
        for task in self._further:
            self._parts.callback(task.close)
        self._tracker = Tracker()
        self._in_view: list[Track] = []
        self._of_scene: dict[str, Reading] = {}
        self._of_faces: dict[str, dict[int, Reading]] = {}
        self._after_still = False
        self._disabled: frozenset[str] = frozenset()
        self._arrange()

    @property
    def providers(self) -> dict[str, str]:
        """Where each part really runs, in ONNX Runtime's words."""
        models = {task: model.provider for task, model in self._task_models.items()}
        return {"faces": self._perception.detector.provider, **models}

    @property
    def task_models(self) -> Mapping[str, TaskModel]:
        """The model of each task that has a package."""
        return self._task_models

    @property
    def models(self) -> dict[str, str]:
        """Name and precision of each package in use."""
        return {task: f"{model.manifest.name} {model.precision}" for task, model in self._task_models.items()}

    @property
    def labels(self) -> dict[str, list[str]]:
        """The labels of each task that has some; a task of one's own can have an attribute `labels`."""
        known = {task: model.manifest.labels for task, model in self._task_models.items()}
        own = {task.name: task.labels for task in self._further}
        return {task: list(labels) for task, labels in {**known, **own}.items() if labels}

    def __repr__(self) -> str:
        models = [f"{task}={model}" for task, model in self.models.items()]
        others = [task.name for task in self._further if task.name not in self._task_models]
        return f"<Pipeline {' '.join([*models, *others]) or 'faces only'} on {self.providers['faces']}>"

    def warm_up(self) -> None:
        """Run every graph once in each shape, so that the first result is not slower than the rest."""
        self._perception.detector.warm_up()
        for model in reversed(self._task_models.values()):
            model.warm_up()

    def set_real_time(self, max_age_ms: float | None = None) -> None:
        """Frames come as time passes: under load faces are looked for less often, before all else.

        max_age_ms: what a result's frame may be old; a look that would make it older waits.
        """
        self._schedule.set_real_time(None if max_age_ms is None else max_age_ms / 1e3)

    @property
    def face_tasks(self) -> frozenset[str]:
        """Names of the tasks that are given faces: all but those that need the frame alone."""
        return frozenset(
            name
            for name, task in self._tasks.items()
            if task.scope == "face" or name not in self._task_models
        )

    @property
    def disabled(self) -> frozenset[str]:
        """Names of the tasks that are switched off."""
        return self._disabled

    def disable(self, name: str) -> None:
        """Switch a task off: it does not run from the next frame on, and its readings are removed.

        Args:
            name: Of a task of this pipeline, such as "emotion". Nothing changes where it is off already.

        Raises:
            TaskError: The pipeline has no task of that name.
        """
        self._task(name)
        self._disabled |= {name}
        self._arrange()
        self._of_scene.pop(name, None)
        self._of_faces.pop(name, None)

    def enable(self, name: str) -> None:
        """Switch a task on again. It is reset, so it starts with the next frame.

        Args:
            name: Of a task of this pipeline. Nothing changes where it is on already.

        Raises:
            TaskError: The pipeline has no task of that name.
        """
        task = self._task(name)
        if name in self._disabled:
            self._disabled -= {name}
            self._arrange()
            task.reset()

    def close(self) -> None:
        """End what goes on beside, and the detector where it was named. Nothing is to be run afterwards."""
        self._parts.close()

    def reset(self, *, renumber: bool = False) -> None:
        """Forget all frames seen: for another source.

        Args:
            renumber: Number faces from 1 again.
        """
        self._perception.reset()
        self._schedule.reset()
        self._forget()
        if renumber:
            self._tracker = Tracker()

    def run(self, source: Source, *, pace: Pace = "fast") -> Iterator[Result]:
        """Results of a source's frames; the source is closed at the end.

        Args:
            source: From `open_source`.
            pace: "fast" takes every frame of a file as quickly as it goes; "realtime" as time passes, and
                where that is too quick the newest frame counts. Live sources are always in real time.

        Raises:
            SourceError: The source cannot be read any further.
            TaskError: A task of one's own failed.
        """
        with closing(self.frames(source, pace=pace)) as pairs:
            for _, result in pairs:
                yield result

    def frames(self, source: Source, *, pace: Pace = "fast") -> Generator[tuple[Frame, Result], None, None]:
        """As `run`, each frame with its result."""
        self.reset()
        self.warm_up()
        if pace == "realtime" or source.live:
            self.set_real_time()
        with source, Capture(source, pace=pace, clock=self._clock) as capture:
            breaks = 0
            for frame in capture:
                if capture.breaks != breaks:
                    breaks = capture.breaks
                    self.reset()
                result = self.process(frame)
                if not capture.outdated(frame):
                    yield frame, result

    def process(self, picture: Frame | Image) -> Result:
        """What is known after this frame.

        Args:
            picture: A frame of a source, in order of time; or uint8 (height, width, 3) in BGR order, which is
                taken as a photograph: all its faces are read, and nothing is carried over from the frames
                before or to those after it.

        Raises:
            TypeError: It is neither a frame nor an array of uint8.
            ValueError: The array has another shape, or no pixels.
            TaskError: A task of one's own failed.
        """
        frame = picture if isinstance(picture, Frame) else self._still(picture)
        start = self._clock.monotonic()
        cut = not frame.still and self._perception.is_cut(frame)
        if frame.still or self._after_still or cut:
            self._forget()
        self._after_still = frame.still
        steps = self._read_scene(self._first_tasks, frame, ())
        first = self._clock.monotonic()
        detect_ms = self._find_faces(frame, first)
        faces, face_steps = self._read_faces(frame)
        if detect_ms:
            still = bool(self._in_view) and all(track.calm for track in self._in_view)
            self._schedule.record_detection(frame.pts_s, self._clock.monotonic() - first, faces_still=still)
        seen = self._clock.monotonic()
        steps += face_steps + self._read_scene(self._last_tasks, frame, faces)
        self._perception.finish(frame)
        end = self._clock.monotonic()
        self._schedule.record_frame(frame.pts_s, end - seen + first - start)
        stages_ms = {stage: ms for _, step in steps for stage, ms in step.stages_ms.items()}
        return Result(
            frame.seq,
            frame.pts_s,
            (end - frame.captured_s) * 1e3,
            faces,
            dict(self._of_scene),
            {**stages_ms, **detect_ms, "total": (end - start) * 1e3},
            cut,
            frame.file,
            {name: step.readings for name, step in steps if step.readings},
        )

    def _task(self, name: str) -> PackagedTask:
        if name not in self._tasks:
            raise TaskError(f"the pipeline has no task {name!r}; it has {', '.join(self._tasks) or 'none'}")
        return self._tasks[name]

    def _arrange(self) -> None:
        """Put the enabled tasks in the order in which they run.

        Models of the scene run before faces are looked for, so that their work counts in the age of a frame.
        """
        enabled = [task for name, task in self._tasks.items() if name not in self._disabled]
        scene = [task for task in enabled if task.scope == "scene"]
        self._first_tasks = [task for task in scene if task.name in self._task_models]
        self._face_tasks = [task for task in enabled if task.scope == "face"]
        self._last_tasks = [task for task in scene if task.name not in self._task_models]

    def _still(self, picture: object) -> Frame:
        if not isinstance(picture, np.ndarray):
            raise TypeError(
                "process takes a Frame or a picture, a NumPy array of uint8 (height, width, 3) in BGR order, "
                f"not {type(picture).__name__}"
            )
        return Frame(0, 0.0, self._clock.monotonic(), check_picture(picture), still=True)

    def _read_scene(
        self, tasks: Sequence[PackagedTask], frame: Frame, faces: tuple[TrackedFace, ...]
    ) -> list[tuple[str, Step]]:
        """What the tasks on the scene gave."""
        steps = []
        for task in tasks:
            steps.append((task.name, step := task.step(frame, faces)))
            if isinstance(step.readings, Reading):
                self._of_scene[task.name] = step.readings
        return steps

    def _find_faces(self, frame: Frame, start: float) -> dict[str, float]:
        """Look for the faces in view where that is due; the time of "detect" where it was."""
        due = frame.still or self._schedule.due(frame.pts_s, start - frame.captured_s)
        if not self._perception.should_detect(frame, due):
            return {}
        found = self._perception.detect_faces(frame, self._tracker.known_boxes)
        self._in_view = self._tracker.update(found, frame.pts_s)
        detect_ms = (self._clock.monotonic() - start) * 1e3
        self._forget_ended_tracks()
        return {"detect": detect_ms}

    def _read_faces(self, frame: Frame) -> tuple[tuple[TrackedFace, ...], list[tuple[str, Step]]]:
        """The faces in view with their readings, and what the tasks on faces gave."""
        faces = tuple(self._tracked(track, frame.pts_s) for track in self._in_view)
        steps = []
        for task in self._face_tasks if frame.still or self._schedule.sampled else ():
            steps.append((task.name, step := task.step(frame, faces)))
            if step.readings:
                assert not isinstance(step.readings, Reading), "CheckedTask refuses it"
                self._of_faces.setdefault(task.name, {}).update(step.readings)
                faces = tuple(replace(face, readings=self._readings_of(face.track)) for face in faces)
        return faces, steps

    def _tracked(self, track: Track, now_s: float) -> TrackedFace:
        offset = track.offset_at(now_s)
        readings = self._readings_of(track.number)
        box = track.box.moved(*offset)
        return TrackedFace(track.number, box, track.face.score, readings, track.face, offset, track.seen_s)

    def _readings_of(self, number: int) -> Mapping[str, Reading]:
        return {task: known[number] for task, known in self._of_faces.items() if number in known}

    def _forget_ended_tracks(self) -> None:
        numbers = set(self._tracker.numbers)
        for known in self._of_faces.values():
            for number in known.keys() - numbers:
                del known[number]

    def _forget(self) -> None:
        """Nothing of the frames before is carried over to the next one."""
        self._tracker.reset()
        self._schedule.forget_faces()
        self._in_view = []
        self._of_scene.clear()
        self._of_faces.clear()
        for task in self._tasks.values():
            task.reset()


def _load_packages(**wanted: PackageName) -> dict[str, Package]:
    """Loaded packages by task, in the order in which the tasks run; those that are off are left out."""
    packages = {}
    for task in PACKAGE_TASKS:
        if (package := wanted.get(task)) is not None:
            packages[task] = package if isinstance(package, Package) else load_package(package, task)
    return packages
