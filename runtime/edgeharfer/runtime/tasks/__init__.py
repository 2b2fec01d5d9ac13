"""The registry of tasks: the only place that lists them.

A task that ships is one file in this package and one row of TASKS. A model package for any further task runs
without a row: `make_task` takes its folder. A task from outside goes into `Pipeline(extra_tasks=[…])`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from edgeharfer.runtime.errors import ConfigError, ModelError
from edgeharfer.runtime.inference.backend import CPU, Backend

if TYPE_CHECKING:
    from edgeharfer.runtime.clock import Clock
    from edgeharfer.runtime.inference.manifest import Manifest, Reads
    from edgeharfer.runtime.inference.package import Package
    from edgeharfer.runtime.schedule import Schedule
    from edgeharfer.runtime.tasks.base import Task
    from edgeharfer.runtime.tasks.packaged import ModelRunner, PackagedTask, TaskModel

ACTION, EMOTION = "action", "emotion"
"""The two tasks that run by default, for the parts of the product that are about them alone."""


DEFAULT_ICON = "mdi:eye-outline"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntry:
    """One task that ships.

    Attributes:
        task: Its class, as "module:Class" of this package.
        model: The `TaskModel` that runs its packages, likewise; "" for a task without packages. The package
            of a task with one is chosen by an option of its own name.
        scope: "scene" for one reading a frame, "face" for one a face.
        summary: A line for people.
        gives: "classes", or "values", which are numbers by name.
        reads: What its model packages read; None where it needs no package.
        package: The package that ships and runs by default; "" where it needs none.
        use: What a package of this task is for, as its model card says.
        stages: The stages that it is timed in; without any it is one stage of its own name.
        rates: Name of a rate and the stage that is counted for it.
        icon: In Home Assistant, from https://pictogrammers.com/library/mdi/.
        options: Keywords of the pipeline that its model takes.
        recorded: Key of the model's outputs in a recording.
    """

    task: str
    model: str = ""
    scope: str
    summary: str
    gives: str = "classes"
    reads: Reads | None = None
    package: str = ""
    use: str = ""
    stages: tuple[str, ...] = ()
    rates: Mapping[str, str] = field(default_factory=dict)
    icon: str = DEFAULT_ICON
    options: tuple[str, ...] = ()
    recorded: str = ""


TASKS: Mapping[str, TaskEntry] = MappingProxyType({
    ACTION: TaskEntry(
        task="action:ActionTask",
        model="action:ActionModel",
        scope="scene",
        summary="what goes on in the scene; on by default, --action chooses the package or off",
        reads="clip",
        package="action-ucf20",
        use="Which of the listed actions a short stretch of video shows.",
        stages=("encode", "head"),
        rates={"actions": "encode"},
        icon="mdi:run",
        recorded="features",
    ),
    EMOTION: TaskEntry(
        task="emotion:EmotionTask",
        model="emotion:EmotionModel",
        scope="face",
        summary="how each face looks; on by default, --emotion chooses the package or off",
        reads="face",
        package="emotion-fer8",
        use="Which of the listed looks a face has. A look is not a feeling: do not judge people by it.",
        stages=("align", "emotion"),
        icon="mdi:emoticon-outline",
        options=("prior", "clock"),
        recorded="probs",
    ),
    "headpose": TaskEntry(
        task="headpose:HeadPose",
        scope="face",
        summary="yaw, pitch and roll of each face in degrees; no model",
        gives="values",
    ),
})  # fmt: skip
_MODELS: Mapping[Reads, str] = MappingProxyType(
    {"face": "pictures:PictureModel", "frame": "pictures:PictureModel", "clip": "action:ActionModel"}
)
PACKAGE_TASKS = tuple(name for name, entry in TASKS.items() if entry.model)
"""Tasks with an option that chooses their model package, in the order in which they run."""
EXTRA_TASKS = tuple(name for name, entry in TASKS.items() if not entry.model)
"""Tasks that `--task` adds by name."""
ALWAYS_IN_JSON: Mapping[str, tuple[str, ...]] = MappingProxyType({
    scope: tuple(name for name in PACKAGE_TASKS if TASKS[name].scope == scope) for scope in ("scene", "face")
})  # fmt: skip
"""Tasks whose key stands in the JSON of each scene and face, with null where there is no reading."""

STAGES = ("total", "detect", *(stage for entry in reversed([*TASKS.values()]) for stage in entry.stages))
"""Stages of a frame in the order of a report; a further task is a stage of its own name."""
RATES: Mapping[str, str] = MappingProxyType(
    {"faces": "detect"} | {name: stage for task in TASKS.values() for name, stage in task.rates.items()}
)
"""What has a rate of its own, and the stage that runs once each time."""


def check_manifest(manifest: Manifest, where: str) -> None:
    """Raises ModelError for a package that is not what its task needs. where: named in the error."""
    entry = TASKS.get(manifest.task)
    if entry is None or entry.reads is None:
        return
    gives = "classes" if manifest.labels else "values"
    if (manifest.kind, gives) != (entry.reads, entry.gives):
        raise ModelError(
            f"{where}: reads {manifest.kind}s and gives {gives}, where a package for the task "
            f"{manifest.task} reads {entry.reads}s and gives {entry.gives}"
        )


def is_addable(task: str) -> bool:
    """Whether `make_task` knows the name, or there is such a package."""
    if task in EXTRA_TASKS or Path(task).is_dir():
        return True
    from edgeharfer.runtime.inference.package import shipped_packages

    return task in {package.path.name for package in shipped_packages()}


def make_task(task: str, backend: Backend = CPU, *, require_signature: Path | None = None) -> Task:
    """A task to add to a pipeline.

    Args:
        task: One of EXTRA_TASKS, or a model package: a shipped name or a folder.
        backend: Where and how a package runs.
        require_signature: The file of the public key that a package must be signed with.

    Raises:
        ConfigError: There is no such task or package, or the package is for a task with an option of its own.
        ModelError: The package cannot be trusted or run.
    """
    known = f"tasks to add: {', '.join(EXTRA_TASKS)}, or the folder of a package"
    if task in PACKAGE_TASKS:
        raise ConfigError(f"task {task!r} cannot be added: choose its package with --{task}; {known}")
    if task in EXTRA_TASKS:
        made: Task = _load_object(TASKS[task].task)()
        return made
    if not is_addable(task):
        raise ConfigError(f"task {task!r} cannot be added: there is no such task; {known}")
    from edgeharfer.runtime.inference.package import load_package
    from edgeharfer.runtime.tasks.generic import make_generic

    package = load_package(task, require_signature=require_signature)
    if package.manifest.task in PACKAGE_TASKS:
        name = package.manifest.task
        raise ConfigError(f"{task} is a package for the task {name}: choose it with --{name}")
    return make_generic(package, backend)


def make_tasks(
    tasks: Iterable[str], backend: Backend = CPU, *, require_signature: Path | None = None
) -> list[Task]:
    """The tasks of a list, each once; see `make_task`."""
    return [make_task(task, backend, require_signature=require_signature) for task in dict.fromkeys(tasks)]


def open_model(
    package: Package, backend: Backend, options: Mapping[str, Any] | None = None, task: str = ""
) -> TaskModel:
    """The model of a package that is no face detector: its task's, or one for what it reads.

    Args:
        package: A loaded package.
        backend: Where and how its graphs run.
        options: From which the model takes those that its task's entry names.
        task: The task that it runs for; that of its manifest where none is given.

    Raises:
        ModelError, ProviderError: As `TaskModel`.
    """
    entry = TASKS.get(task or package.manifest.task)
    path = entry.model if entry and entry.model else _MODELS[package.manifest.kind]
    wanted = {key: options[key] for key in entry.options} if entry and options else {}
    model: TaskModel = _load_object(path)(package, backend, **wanted)
    return model


def make_packaged_task(
    name: str, model: TaskModel, reader: ModelRunner, schedule: Schedule, clock: Clock
) -> PackagedTask:
    """A task of PACKAGE_TASKS. Its model reads pictures through the reader."""
    task: PackagedTask = _load_object(TASKS[name].task)(model, reader, schedule, clock)
    return task


def _load_object(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
