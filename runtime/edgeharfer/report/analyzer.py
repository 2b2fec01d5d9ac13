"""Watches one input after the other, for reports: the pipeline with samples at fixed times."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

from edgeharfer.report.collector import Collector, SampleCallback, value_columns
from edgeharfer.report.record import Observations
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.faces import DEFAULT_DETECTOR
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.runner import RunLimits, Runner
from edgeharfer.runtime.schedule import SamplingSchedule
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.tasks import ACTION, EMOTION, PACKAGE_TASKS
from edgeharfer.runtime.tasks.base import Task
from edgeharfer.runtime.tasks.checked import check_names
from edgeharfer.runtime.tasks.packaged import TaskModel

DEFAULT_FPS = 4.0


@dataclass(frozen=True)
class ModelFacts:
    """What a report says of a model. files: name and SHA-256 of each file that was used."""

    name: str
    precision: str
    labels: tuple[str, ...]
    threshold: float
    files: Mapping[str, str]
    accuracy: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, model: TaskModel) -> ModelFacts:
        """The facts of a model in use."""
        manifest = model.manifest
        files = {spec.file: spec.sha256 for spec in manifest.files[model.precision].values()}
        return cls(
            manifest.name, model.precision, manifest.labels, manifest.threshold, files, manifest.accuracy
        )

    @property
    def sha256(self) -> str:
        """One hash for the model, 64 hex digits: its file's, or that of `sha256sum`'s lines for its files."""
        if len(self.files) == 1:
            return next(iter(self.files.values()))
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class AnalysisMethod:
    """How an input was watched.

    models: by task. window: of the action model. providers: where each part really ran, in ONNX Runtime's
    words.
    """

    fps: float
    detector: str
    prior: str
    models: Mapping[str, ModelFacts]
    window: WindowSpec | None
    providers: Mapping[str, str]

    @property
    def emotion(self) -> ModelFacts | None:
        """The model that the faces were read with; None when emotions are off."""
        return self.models.get(EMOTION)

    @property
    def action(self) -> ModelFacts | None:
        """The model that actions were read with; None when they are off."""
        return self.models.get(ACTION)

    @property
    def labels(self) -> tuple[str, ...]:
        """Emotions by name; none when they are off."""
        return self.emotion.labels if self.emotion else ()

    def settings(self) -> dict[str, Any]:
        """Ready for JSON; a task that is off is None."""
        settings = asdict(self)
        models = settings.pop("models")
        return {**settings, **{task: models.get(task) for task in PACKAGE_TASKS}}


class Analyzer:
    """The pipeline of a report, for any number of inputs, one after the other.

    Args:
        fps: Samples of the faces a second; a slower source gives each of its frames.
        detector: A name of `DETECTORS`.
        prior: As `Pipeline` takes it.
        extra_tasks: Those on faces run on each sample, and their `value_names` become columns.
        options: Others of `Pipeline`, which raises what it raises.
    """

    def __init__(
        self,
        *,
        fps: float = DEFAULT_FPS,
        detector: str = DEFAULT_DETECTOR,
        prior: str = "package",
        extra_tasks: Sequence[Task] = (),
        **options: Any,
    ) -> None:
        self._schedule = SamplingSchedule(fps)
        check_names(extra_tasks)
        tasks = [task for task in extra_tasks if task.scope == "face"]
        self._columns = value_columns(tasks)
        self._pipeline = Pipeline(
            detector=detector,
            prior=prior,
            extra_tasks=tasks,
            schedule=self._schedule,
            background_build=False,
            **options,
        )
        models = dict(reversed(list(self._pipeline.task_models.items())))  # faces before the scene
        window = models[ACTION].manifest.window if ACTION in models else None
        facts = {task: ModelFacts.of(model) for task, model in models.items()}
        providers = {
            "faces": self._pipeline.providers["faces"],
            **{task: model.provider for task, model in models.items()},
        }
        self.method = AnalysisMethod(fps, detector, prior, facts, window, providers)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the values that further tasks give for each face."""
        return tuple(f"{task}_{value}" for task, value in self._columns)

    def warm_up(self) -> None:
        """Run every graph once, so that the time left is right from the start."""
        self._pipeline.warm_up()

    def close(self) -> None:
        """Close the pipeline."""
        self._pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def analyze(
        self,
        source: Source,
        *,
        duration_s: float | None = None,
        progress: Callable[[int], None] = lambda frames: None,
        stopping: Callable[[], bool] = lambda: False,
        watch: SampleCallback | None = None,
    ) -> Observations | None:
        """Everything of a source, which is closed at the end; None where it was stopped.

        Args:
            source: From `open_source`.
            duration_s: Time of the source, from its start, after which to end.
            progress: Called with the number of frames that are done.
            stopping: Asked before each frame.
            watch: Called with the frame of each sample; a picture is kept nowhere else.

        Raises:
            SourceError: The source cannot be read any further.
            TaskError: A task of one's own failed.
        """
        self._pipeline.reset(renumber=True)
        collector = Collector(self._schedule, self._columns, source.fps, progress, watch)
        with source, Capture(source, pace="fast") as capture:
            Runner(
                self._pipeline, capture, [collector], RunLimits(duration_s=duration_s), stopping=stopping
            ).run()
        return None if stopping() else collector.recording()
