"""The pipeline turns frames into results: it detects and tracks faces and runs the tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeharfer.runtime.capture import Capture, Pace
from edgeharfer.runtime.clock import Clock, SystemClock
from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.errors import ConfigError, TaskError
from edgeharfer.runtime.faces import DEFAULT_DETECTOR, make_detector
from edgeharfer.runtime.faces.detector import Detector
from edgeharfer.runtime.faces.tracks import Track, Tracker
from edgeharfer.runtime.golden import checked_backend, precision_reason
from edgeharfer.runtime.inference.backend import Backend
from edgeharfer.runtime.inference.package import Package, load_package
from edgeharfer.runtime.lookahead import Lookahead, Plan
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
"""Default time between face detections, in seconds. Face positions are extrapolated in between."""

_log = logging.getLogger(__name__)

PackageName = str | Path | Package | None
PerceptionFactory = Callable[[Detector, Mapping[str, TaskModel]], Perception]


class Pipeline(Closing):
    """Detects and tracks faces, and runs the tasks on each frame.

        with Pipeline() as pipeline:
            for result in pipeline.run(open_source("clip.mp4")):
                print(result.action, result.faces)

    A pipeline is not thread-safe: do not call `process`, `frames`, `run`, `reset`, `disable`, `enable`,
    `warm_up`, `set_real_time` and `close` from several threads at the same time. `labels`, `models` and
    `providers` can be read from any thread. It keeps state from frame to frame, so use one pipeline for each
    source that is read at the same time (see `for_another_source`).

    Args:
        action: Action package: the name of a shipped package, a folder, a loaded package, or None to turn
            the task off.
        emotion: Emotion package, likewise.
        detector: The name of a face detector from `DETECTORS`, or a `Detector`, which the caller closes.
        provider: Execution provider, as `--provider` takes it, such as "auto", "cpu" or "openvino:GPU".
        precision: "auto", "fp32", "fp16" or "int8".
        threads: ONNX Runtime intra-op threads. None: the number tuned for this device, or one.
        allow_fallback: Use the next best provider if the requested one cannot be loaded.
        backend: Provider, precision, threads and fallback in one value. It replaces those four arguments.
        prior: Class prior of the emotions, one of `tasks.emotion.PRIORS`.
        face_interval_s: Seconds between face detections, doubled while all faces are still. Each detection
            is followed by the emotions, one face in each frame. 0: all faces in every frame. In real time
            the interval grows under load (see `LiveSchedule`).
        packages: Packages of other tasks of `tasks.TASKS`, by the name of the task.
        extra_tasks: Further tasks (see `Task`), which run in this order after the tasks with packages. The
            pipeline closes them.
        background_build: Build missing TensorRT engines in a child process, which takes minutes, and run on
            the next best provider until they are ready. `close` cancels a build that has not finished.
        perception: Factory, called with the detector and the models, of the object that runs them, such as
            `Recorder`.
        schedule: Decides when faces are detected and read, in place of `face_interval_s`. A
            `SamplingSchedule` reads all faces at a fixed rate.
        clock: Source of time; the system's by default.

    Raises:
        ConfigError: An argument is invalid.
        ModelError: A package cannot be trusted or run.
        ProviderError: The requested provider cannot be loaded.
        MissingExtra: A required extra is not installed.
        TaskError: Two tasks have the same name, or a task has an invalid name or scope.
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
        self._resources = ExitStack()
        backend = backend or Backend.parse(
            provider, precision=precision, threads=threads, fallback=allow_fallback
        )
        backend = replace(backend, background_build=background_build)
        schedule = schedule or LiveSchedule(face_interval_s)
        loaded = _load_packages(action=action, emotion=emotion, **(packages or {}))
        options = {"prior": prior, "clock": self._clock}
        models = {
            task: open_model(package, checked_backend(package, backend), options, task)
            for task, package in loaded.items()
        }
        reasons = {task: precision_reason(loaded[task], model.precision) for task, model in models.items()}
        self.precision_reasons: Mapping[str, str] = {
            task: reason for task, reason in reasons.items() if reason
        }
        if isinstance(detector, str):
            detector = make_detector(detector, backend)
            self._resources.callback(detector.close)
        generic = {task.name: task.model for task in extra_tasks if isinstance(task, GenericTask)}
        self._task_models: dict[str, TaskModel] = {**models, **generic}
        for model in models.values():
            self._resources.callback(model.close)
        checked = [CheckedTask(task, self._clock) for task in extra_tasks]
        for task in checked:
            self._resources.callback(task.close)
        self._prepare(perception(detector, models), schedule, checked)

    def for_another_source(self, *, face_interval_s: float | None = None) -> Pipeline:
        """Return a pipeline for a source that is read at the same time as that of this one.

        It uses the models and the detector of this one, has no further memory of its own, and keeps its own
        state: faces, readings, windows, schedule. Use both from the same thread. Under load in real time the
        sources share the time of that thread. Close this pipeline last, which closes the models.

        Args:
            face_interval_s: Seconds between face detections, as for `Pipeline`; by default that of this one.

        Raises:
            TaskError: An extra task has no method `for_another_source`.
            ConfigError: The pipeline records or replays, or has a schedule of its own and an interval is
                given.
        """
        if type(self._perception) is not Perception:
            raise ConfigError("a recording has one source: run each source on its own")
        other = copy(self)
        other._resources = ExitStack()
        models = {task: model.for_another_source() for task, model in self._perception.models.items()}
        schedule = self._schedule.for_another_source()
        if face_interval_s is not None:
            if not isinstance(schedule, LiveSchedule):
                raise ConfigError("face_interval_s cannot be used with another schedule")
            schedule.wanted_s = face_interval_s
            schedule.reset()
        extra = [task.for_another_source() for task in self._extra_tasks]
        other._prepare(Perception(self._perception.detector, models), schedule, extra)
        return other

    def _prepare(self, perception: Perception, schedule: Schedule, extra: Sequence[CheckedTask]) -> None:
        """Set up what belongs to one source."""
        self._perception, self._schedule, self._extra_tasks = perception, schedule, extra
        self._tasks: dict[str, PackagedTask] = {
            task: make_packaged_task(task, model, perception, schedule, self._clock)
            for task, model in perception.models.items()
        }
        self._tasks |= {task.name: task for task in extra}
        self._tracker = Tracker()
        self._in_view: list[Track] = []
        self._scene_readings: dict[str, Reading] = {}
        self._face_readings: dict[str, dict[int, Reading]] = {}
        self._after_photograph = False
        self._disabled: frozenset[str] = frozenset()
        self._lookahead: Lookahead | None = None
        self._order_tasks()

    @property
    def providers(self) -> dict[str, str]:
        """The ONNX Runtime provider in use, by "faces" for the detector and by the name of each task."""
        models = {task: model.provider for task, model in self._task_models.items()}
        return {"faces": self._perception.detector.provider, **models}

    @property
    def task_models(self) -> Mapping[str, TaskModel]:
        """The model of each task that has a package, by the name of the task."""
        return self._task_models

    @property
    def models(self) -> dict[str, str]:
        """Name and precision of each package in use, by the name of the task."""
        return {task: f"{model.manifest.name} {model.precision}" for task, model in self._task_models.items()}

    @property
    def labels(self) -> dict[str, list[str]]:
        """The labels of each task with classes, from its package or from its attribute `labels`."""
        known = {task: model.manifest.labels for task, model in self._task_models.items()}
        own = {task.name: task.labels for task in self._extra_tasks}
        return {task: list(labels) for task, labels in {**known, **own}.items() if labels}

    def __repr__(self) -> str:
        models = [f"{task}={model}" for task, model in self.models.items()]
        others = [task.name for task in self._extra_tasks if task.name not in self._task_models]
        return f"<Pipeline {' '.join([*models, *others]) or 'faces only'} on {self.providers['faces']}>"

    def warm_up(self) -> None:
        """Run every graph once in each input shape, so that the first frames are not slower than the rest."""
        self._perception.detector.warm_up()
        for model in reversed(self._task_models.values()):
            model.warm_up()

    def set_real_time(self, max_age_ms: float | None = None) -> None:
        """Adapt the face detection rate to the load from now on, because frames arrive in real time.

        Args:
            max_age_ms: Maximum age of a frame at its result. Face detection is postponed if it would exceed
                that. None: no limit.
        """
        self._schedule.set_real_time(None if max_age_ms is None else max_age_ms / 1e3)

    @property
    def face_tasks(self) -> frozenset[str]:
        """Names of the tasks that receive faces: all except models of whole frames and clips."""
        return frozenset(
            name
            for name, task in self._tasks.items()
            if task.scope == "face" or name not in self._task_models
        )

    @property
    def disabled(self) -> frozenset[str]:
        """Names of the tasks that are turned off."""
        return self._disabled

    def disable(self, name: str) -> None:
        """Turn a task off from the next frame on, and remove its readings.

        Args:
            name: Name of a task of this pipeline, such as "emotion". No effect if it is already off.

        Raises:
            TaskError: The pipeline has no task of that name.
        """
        self._task(name)
        self._disabled |= {name}
        self._order_tasks()
        self._scene_readings.pop(name, None)
        self._face_readings.pop(name, None)

    def enable(self, name: str) -> None:
        """Turn a task on again. It is reset, and starts with the next frame.

        Args:
            name: Name of a task of this pipeline. No effect if it is already on.

        Raises:
            TaskError: The pipeline has no task of that name.
        """
        task = self._task(name)
        if name in self._disabled:
            self._disabled -= {name}
            self._order_tasks()
            task.reset()

    def close(self) -> None:
        """Close the models, the extra tasks, and the detector unless the caller passed a `Detector`.

        Do not use the pipeline afterwards. Closing it again has no effect.
        """
        self._resources.close()

    def reset(self, *, renumber: bool = False) -> None:
        """Discard all state from previous frames, for instance before another source.

        Args:
            renumber: Restart track numbers at 1.
        """
        self._perception.reset()
        self._schedule.reset()
        self._discard_state()
        if self._lookahead is not None:
            self._lookahead.stop()
            self._lookahead = None
        if renumber:
            self._tracker = Tracker()

    def skip_unneeded(self, source: Source) -> None:
        """Let a file leave out the decoding of frames that the pipeline will not look at, until `reset`.

        They have results like the others: faces are extrapolated and readings remain current. Scene cuts are
        found in the frames that are looked at and in those that others refer to, such as all key frames. No
        effect if extra tasks, which may look at any frame, are in use. Call it before the first frame.
        """
        if not self._extra_tasks and not source.live and source.fps:
            self._lookahead = Lookahead(source.fps)
            source.announce, source.wanted = self._lookahead.announce, self._lookahead.wanted

    def precompute(self, frame: Frame, previous_s: float) -> None:
        """Compute what `process` will probably need for a frame of a file, such as its features.

        A `Capture` of a file calls it in its thread while it waits for the pipeline, which shares the work
        between two cores. It may run while `process` does. The results do not depend on it: what was not
        computed in advance, or failed, is computed by `process`.

        Args:
            frame: A frame that will be processed later.
            previous_s: Source time of the frame before, in seconds.
        """
        for task in self._first_tasks:
            try:
                task.precompute(frame, previous_s)
            except (Exception, KeyboardInterrupt) as error:  # the latter: a signal has cancelled the call
                _log.debug("%s: not computed in advance: %s", task.name, error)

    def run(self, source: Source, *, pace: Pace = "fast") -> Iterator[Result]:
        """Process a source frame by frame. The source is closed at the end.

        The source is read in a thread of its own; tasks run in the thread that iterates.

        Args:
            source: A source, such as from `open_source`.
            pace: Speed at which a file is read. "fast": every frame, as fast as possible. "realtime": at the
                speed of the recording, dropping frames that cannot be processed in time. Live sources are
                always read in real time.

        Yields:
            The result of each processed frame.

        Raises:
            SourceError: The source cannot be read any further.
            TaskError: An extra task failed.
        """
        with closing(self._frames(source, pace, skip=True)) as pairs:
            for _, result in pairs:
                yield result

    def frames(self, source: Source, *, pace: Pace = "fast") -> Generator[tuple[Frame, Result], None, None]:
        """Process a source like `run`, and yield each frame together with its result."""
        return self._frames(source, pace)

    def _frames(
        self, source: Source, pace: Pace, *, skip: bool = False
    ) -> Generator[tuple[Frame, Result], None, None]:
        self.reset()
        if skip:
            self.skip_unneeded(source)
        self.warm_up()
        if pace == "realtime" or source.live:
            self.set_real_time()
        with source, self._capture(source, pace) as capture:
            breaks = 0
            for frame in capture:
                if capture.breaks != breaks:
                    breaks = capture.breaks
                    self.reset()
                result = self.process(frame)
                if not capture.outdated(frame):
                    yield frame, result

    def _capture(self, source: Source, pace: Pace) -> Capture:
        return Capture(source, pace=pace, clock=self._clock, precompute=self.precompute)

    def process(self, picture: Frame | Image) -> Result:
        """Process one frame or picture.

        Args:
            picture: A frame of a source, in order of time; or an array, uint8, (height, width, 3), in BGR
                order. An array is processed as a photograph: all its faces are read, and no state is carried
                over from previous pictures or to later ones.

        Returns:
            The result. It does not change later.

        Raises:
            TypeError: The argument is neither a `Frame` nor an array of uint8.
            ValueError: The array has another shape, or no pixels.
            TaskError: An extra task failed.
        """
        frame = picture if isinstance(picture, Frame) else self._photograph(picture)
        start = self._clock.monotonic()
        if self._lookahead is None:
            return self._look_at(frame, start)
        frame = self._lookahead.filtered(frame)
        result = self._look_at(frame, start) if frame.decoded else self._carry_on(frame, start)
        self._lookahead.publish(frame.pts_s, self._plan())
        return result

    def _look_at(self, frame: Frame, start: float) -> Result:
        """Process a frame with pixels; `start` is the time at which that began."""
        cut = not frame.still and self._perception.is_cut(frame)
        if frame.still or self._after_photograph or cut:
            self._discard_state()
        self._after_photograph = frame.still
        steps = self._run_scene_tasks(self._first_tasks, frame, ())
        first = self._clock.monotonic()
        detect_ms = self._detect_faces(frame, first)
        faces, face_steps = self._run_face_tasks(frame)
        if detect_ms:
            still = bool(self._in_view) and all(track.is_still for track in self._in_view)
            self._schedule.record_detection(frame.pts_s, self._clock.monotonic() - first, faces_still=still)
        seen = self._clock.monotonic()
        steps += face_steps + self._run_scene_tasks(self._last_tasks, frame, faces)
        self._perception.finish(frame)
        end = self._clock.monotonic()
        self._schedule.record_frame(frame.pts_s, end - seen + first - start)
        stages_ms = {stage: ms for _, step in steps for stage, ms in step.stages_ms.items()}
        return Result(
            frame.seq,
            frame.pts_s,
            (end - frame.captured_s) * 1e3,
            faces,
            dict(self._scene_readings),
            {**stages_ms, **detect_ms, "total": (end - start) * 1e3},
            cut,
            frame.file,
            {name: step.readings for name, step in steps if step.readings},
        )

    def _carry_on(self, frame: Frame, start: float) -> Result:
        """Return the result of a frame that was not decoded."""
        faces = tuple(self._tracked(track, frame.pts_s) for track in self._in_view)
        end = self._clock.monotonic()
        self._schedule.record_frame(frame.pts_s, end - start)
        age_ms, total_ms = (end - frame.captured_s) * 1e3, (end - start) * 1e3
        readings = dict(self._scene_readings)
        return Result(frame.seq, frame.pts_s, age_ms, faces, readings, {"total": total_ms}, file=frame.file)

    def _plan(self) -> Plan:
        """Return what is known about the frames that the pipeline will look at."""
        tasks = [*self._first_tasks, *self._face_tasks, *self._last_tasks]
        grids = [task.grids for task in tasks]
        # Several faces are read one after the other, in the frames that follow a detection.
        if (self._face_tasks and len(self._in_view) > 1) or None in grids:
            return Plan(None, None)
        return Plan(self._schedule.plan, tuple(grid for some in grids for grid in some or ()))

    def _task(self, name: str) -> PackagedTask:
        if name not in self._tasks:
            raise TaskError(f"the pipeline has no task {name!r}; it has {', '.join(self._tasks) or 'none'}")
        return self._tasks[name]

    def _order_tasks(self) -> None:
        """Sort the enabled tasks into the order in which they run.

        Models of the scene run before face detection, so that their time counts towards the frame's age.
        """
        enabled = [task for name, task in self._tasks.items() if name not in self._disabled]
        scene = [task for task in enabled if task.scope == "scene"]
        self._first_tasks = [task for task in scene if task.name in self._task_models]
        self._face_tasks = [task for task in enabled if task.scope == "face"]
        self._last_tasks = [task for task in scene if task.name not in self._task_models]

    def _photograph(self, picture: object) -> Frame:
        if not isinstance(picture, np.ndarray):
            raise TypeError(
                "process takes a Frame or a NumPy array of uint8 (height, width, 3) in BGR order, "
                f"not {type(picture).__name__}"
            )
        return Frame(0, 0.0, self._clock.monotonic(), check_picture(picture), still=True)

    def _run_scene_tasks(
        self, tasks: Sequence[PackagedTask], frame: Frame, faces: tuple[TrackedFace, ...]
    ) -> list[tuple[str, Step]]:
        """Run tasks on the scene."""
        steps = []
        for task in tasks:
            steps.append((task.name, step := task.step(frame, faces)))
            if isinstance(step.readings, Reading):
                self._scene_readings[task.name] = step.readings
        return steps

    def _detect_faces(self, frame: Frame, start: float) -> dict[str, float]:
        """Detect faces if that is due; return the time of "detect", or nothing if it was not due."""
        due = frame.still or self._schedule.due(frame.pts_s, start - frame.captured_s)
        if not self._perception.should_detect(frame, due):
            return {}
        found = self._perception.detect_faces(frame, self._tracker.known_boxes)
        self._in_view = self._tracker.update(found, frame.pts_s)
        detect_ms = (self._clock.monotonic() - start) * 1e3
        self._discard_ended_tracks()
        return {"detect": detect_ms}

    def _run_face_tasks(self, frame: Frame) -> tuple[tuple[TrackedFace, ...], list[tuple[str, Step]]]:
        """Run tasks on faces; return the faces in view with their readings, and the steps."""
        faces = tuple(self._tracked(track, frame.pts_s) for track in self._in_view)
        steps = []
        for task in self._face_tasks if frame.still or self._schedule.sampled else ():
            steps.append((task.name, step := task.step(frame, faces)))
            if step.readings:
                assert not isinstance(step.readings, Reading), "CheckedTask refuses it"
                self._face_readings.setdefault(task.name, {}).update(step.readings)
                faces = tuple(replace(face, readings=self._readings_of_track(face.track)) for face in faces)
        return faces, steps

    def _tracked(self, track: Track, now_s: float) -> TrackedFace:
        offset = track.offset_at(now_s)
        readings = self._readings_of_track(track.number)
        box = track.box.moved(*offset)
        return TrackedFace(track.number, box, track.face.score, readings, track.face, offset, track.seen_s)

    def _readings_of_track(self, number: int) -> Mapping[str, Reading]:
        return {task: known[number] for task, known in self._face_readings.items() if number in known}

    def _discard_ended_tracks(self) -> None:
        numbers = set(self._tracker.numbers)
        for known in self._face_readings.values():
            for number in known.keys() - numbers:
                del known[number]

    def _discard_state(self) -> None:
        """Discard everything that would be carried over to the next frame."""
        self._tracker.reset()
        self._schedule.forget_faces()
        self._in_view = []
        self._scene_readings.clear()
        self._face_readings.clear()
        for task in self._tasks.values():
            task.reset()


def _load_packages(**wanted: PackageName) -> dict[str, Package]:
    """Load the packages, in the order in which the tasks run; tasks that are off are left out."""
    packages = {}
    for task in PACKAGE_TASKS:
        if (package := wanted.get(task)) is not None:
            packages[task] = package if isinstance(package, Package) else load_package(package, task)
    return packages
