"""Run the pipeline over inputs for reports, with faces sampled at a fixed rate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from edgeharfer.report.collector import Collector, SampleCallback, value_columns
from edgeharfer.report.record import Observations
from edgeharfer.runtime.capture import Capture
from edgeharfer.runtime.channel import RunInput, RunLimits
from edgeharfer.runtime.closing import Closing
from edgeharfer.runtime.faces import DEFAULT_DETECTOR
from edgeharfer.runtime.faces.detectors import DETECTORS
from edgeharfer.runtime.inference.manifest import WindowSpec
from edgeharfer.runtime.pipeline import Pipeline
from edgeharfer.runtime.runner import Runner
from edgeharfer.runtime.schedule import SamplingSchedule
from edgeharfer.runtime.source import Source
from edgeharfer.runtime.tasks import ACTION, EMOTION, PACKAGE_TASKS
from edgeharfer.runtime.tasks.base import Task
from edgeharfer.runtime.tasks.checked import check_names
from edgeharfer.runtime.tasks.headpose import HeadPose
from edgeharfer.runtime.tasks.intensity import IntensityEstimator, for_prior
from edgeharfer.runtime.tasks.packaged import TaskModel

DEFAULT_FPS = 4.0


@dataclass(frozen=True)
class ModelFacts:
    """Properties of a model that a report names.

    Attributes:
        name: Name of the package.
        precision: Precision that was used, such as "int8".
        labels: Class names.
        threshold: Probability below which a label is "uncertain".
        files: SHA-256 by name of each file that was used.
        accuracy: Accuracy figures of the manifest.
    """

    name: str
    precision: str
    labels: tuple[str, ...]
    threshold: float
    files: Mapping[str, str]
    accuracy: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, model: TaskModel) -> ModelFacts:
        """The properties of a loaded model."""
        manifest = model.manifest
        files = {spec.file: spec.sha256 for spec in manifest.files[model.precision].values()}
        return cls(
            manifest.name, model.precision, manifest.labels, manifest.threshold, files, manifest.accuracy
        )

    @property
    def sha256(self) -> str:
        """One hash for the model, 64 hex digits.

        That of its file or, with several files, the hash of the lines that `sha256sum` prints for them.
        """
        if len(self.files) == 1:
            return next(iter(self.files.values()))
        lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()


@dataclass(frozen=True)
class AnalysisMethod:
    """Settings and models of an analysis.

    Attributes:
        fps: Face samples per second.
        detector: Name of the face detector.
        prior: Class prior of the emotion model.
        models: Models by task.
        window: Time window of the action model; None when actions are off.
        providers: ONNX Runtime execution provider that each stage ran on.
        strength: Estimates how strong an emotion looks.
    """

    fps: float
    detector: str
    prior: str
    models: Mapping[str, ModelFacts]
    window: WindowSpec | None
    providers: Mapping[str, str]
    strength: IntensityEstimator = field(default_factory=IntensityEstimator)

    @property
    def emotion(self) -> ModelFacts | None:
        """The emotion model; None when the task is off."""
        return self.models.get(EMOTION)

    @property
    def action(self) -> ModelFacts | None:
        """The action model; None when the task is off."""
        return self.models.get(ACTION)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the emotions; empty when the task is off."""
        return self.emotion.labels if self.emotion else ()

    def settings(self) -> dict[str, Any]:
        """The settings as JSON-serialisable values; a task that is off is None."""
        settings = asdict(self)
        models = settings.pop("models")
        return {**settings, **{task: models.get(task) for task in PACKAGE_TASKS}}


class Analyzer(Closing):
    """The pipeline of a report, for any number of inputs in sequence.

    Args:
        fps: Face samples per second; every frame of a slower source is sampled.
        detector: A name of `DETECTORS`.
        prior: Class prior of the emotion model, see `Pipeline`.
        extra_tasks: Additional tasks. Those on faces run on each sample, and their `value_names` become
            columns; others are ignored. "headpose" is added if the detector finds key points.
        options: Further options of `Pipeline`.

    Attributes:
        method: Settings and models in use.
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
        self._keypoints = detector not in DETECTORS or DETECTORS[detector].keypoints
        tasks = [task for task in extra_tasks if task.scope == "face"]
        if self._keypoints and HeadPose.name not in [task.name for task in tasks]:
            tasks.append(HeadPose())
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
        strength = for_prior(models[EMOTION].manifest, prior) if EMOTION in models else IntensityEstimator()
        self.method = AnalysisMethod(fps, detector, prior, facts, window, providers, strength)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the values that extra tasks return for each face."""
        return tuple(f"{task}_{value}" for task, value in self._columns)

    def warm_up(self) -> None:
        """Run every graph once, so that the estimate of the remaining time is accurate from the start."""
        self._pipeline.warm_up()

    def close(self) -> None:
        """Close the pipeline."""
        self._pipeline.close()

    def analyze(
        self,
        source: Source,
        *,
        duration_s: float | None = None,
        progress: Callable[[int], None] = lambda frames: None,
        stopping: Callable[[], bool] = lambda: False,
        on_sample: SampleCallback | None = None,
    ) -> Observations | None:
        """Analyse a source to its end and close it.

        Args:
            source: From `open_source`.
            duration_s: Seconds of the source after which to stop; None for all of it.
            progress: Called with the number of frames processed so far.
            stopping: Called before each frame; True stops the analysis.
            on_sample: Called with the frame of each sample. Frames are not stored elsewhere.

        Returns:
            The observations, or None if the analysis was stopped.

        Raises:
            SourceError: The source cannot be read any further.
            TaskError: An extra task failed.
        """
        self._pipeline.reset(renumber=True)
        collector = Collector(self._schedule, self._columns, self._keypoints, source.fps, progress, on_sample)
        with source, Capture(source, pace="fast", precompute=self._pipeline.precompute) as capture:
            limits = RunLimits(duration_s=duration_s)
            Runner([RunInput(self._pipeline, capture)], [collector], limits, stopping=stopping).run()
        return None if stopping() else collector.recording()
