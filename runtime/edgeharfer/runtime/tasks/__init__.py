"""The registry of tasks.

A task that ships with edgeharfer is a module of this package and an entry of TASKS. A model package for
another task needs no entry: `make_task` takes its folder. A task of another project is passed to
`Pipeline(extra_tasks=[…])`.
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
    from edgeharfer.runtime.inference.manifest import InputKind, Manifest
    from edgeharfer.runtime.inference.package import Package
    from edgeharfer.runtime.schedule import Schedule
    from edgeharfer.runtime.tasks.base import Task
    from edgeharfer.runtime.tasks.packaged import ModelRunner, PackagedTask, TaskModel

ACTION, EMOTION = "action", "emotion"
"""Names of the two tasks that run by default."""

DEFAULT_ICON = "mdi:eye-outline"
"""Icon of tasks in Home Assistant that have none of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEntry:
    """A task that ships with edgeharfer.

    Attributes:
        task: The class of the task, as "module:Class" of this package.
        model: The `TaskModel` that runs its packages, likewise; "" for a task without packages. The option
            for the package of a task has the name of the task.
        scope: "scene" for one reading per frame, "face" for one reading per face.
        summary: One-line description for users.
        gives: "classes", or "values", which are numbers by name.
        reads: Input of its model packages; None for a task without packages.
        package: Name of the default package; "" for a task without packages.
        on_request: Whether a task with packages runs only if `--task` adds it, by name or by the folder of a
            package. A task without packages always does.
        use: Intended use of the packages, for their model cards.
        stages: Names of the stages that are timed; none means one stage with the name of the task.
        rates: Name of each reported rate and the stage whose runs are counted for it.
        icon: Icon in Home Assistant, from https://pictogrammers.com/library/mdi/.
        options: Keyword arguments of the pipeline that are passed to the model.
        recorded: Key of the model outputs in a recording.
    """

    task: str
    model: str = ""
    scope: str
    summary: str
    gives: str = "classes"
    reads: InputKind | None = None
    package: str = ""
    on_request: bool = False
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
        summary="the action in the scene; on by default, --action selects its package or turns it off",
        reads="clip",
        package="action-ucf20",
        use="Recognises which of the listed actions a short video clip shows.",
        stages=("encode", "head"),
        rates={"actions": "encode"},
        icon="mdi:run",
        recorded="features",
    ),
    EMOTION: TaskEntry(
        task="emotion:EmotionTask",
        model="emotion:EmotionModel",
        scope="face",
        summary="the expression of each face; on by default, --emotion selects its package or turns it off",
        reads="face",
        package="emotion-fer8",
        use="Recognises which of the listed expressions a face shows. "
        "An expression is not a feeling: do not judge people by it.",
        stages=("align", "emotion"),
        icon="mdi:emoticon-outline",
        options=("prior", "clock"),
        recorded="probs",
    ),
    "headpose": TaskEntry(
        task="headpose:HeadPose",
        scope="face",
        summary="yaw, pitch and roll of each face in degrees; needs no model",
        gives="values",
    ),
    "pose": TaskEntry(
        task="pose:PoseTask",
        model="movenet:PoseModel",
        scope="scene",
        summary="17 joints of the main person in pixels, as a skeleton",
        gives="values",
        reads="frame",
        package="pose",
        on_request=True,
        use="Finds the joints of one person, for their movements.",
        icon="mdi:human-handsup",
    ),
})  # fmt: skip
_MODELS: Mapping[InputKind, str] = MappingProxyType(
    {"face": "pictures:PictureModel", "frame": "pictures:PictureModel", "clip": "action:ActionModel"}
)
PACKAGE_TASKS = tuple(name for name, entry in TASKS.items() if entry.model and not entry.on_request)
"""Tasks that run by default, whose packages options select, in the order in which they run."""
EXTRA_TASKS = tuple(name for name in TASKS if name not in PACKAGE_TASKS)
"""Tasks that `--task` adds by name."""
ALWAYS_IN_JSON: Mapping[str, tuple[str, ...]] = MappingProxyType({
    scope: tuple(name for name in PACKAGE_TASKS if TASKS[name].scope == scope) for scope in ("scene", "face")
})  # fmt: skip
"""Tasks whose key is always present in the JSON of a scene or a face, with null if there is no reading."""

STAGES = ("total", "detect", *(stage for entry in reversed([*TASKS.values()]) for stage in entry.stages))
"""Stages of a frame, in the order of a report. Other tasks are stages with their own name."""
RATES: Mapping[str, str] = MappingProxyType(
    {"faces": "detect"} | {name: stage for task in TASKS.values() for name, stage in task.rates.items()}
)
"""Name of each reported rate and the stage whose runs are counted for it."""


def check_manifest(manifest: Manifest, where: str) -> None:
    """Check that a package has the inputs and outputs that its task requires.

    Args:
        manifest: The manifest of the package.
        where: Location of the package for the error message.

    Raises:
        ModelError: The package does not match its task.
    """
    entry = TASKS.get(manifest.task)
    if entry is None or entry.reads is None:
        return
    gives = "classes" if manifest.labels else "values"
    if (manifest.kind, gives) != (entry.reads, entry.gives):
        raise ModelError(
            f"{where}: takes {manifest.kind}s and outputs {gives}, but a package for the task "
            f"{manifest.task} takes {entry.reads}s and outputs {entry.gives}"
        )


def is_addable(task: str) -> bool:
    """Return whether `make_task` accepts a name: one of EXTRA_TASKS, a shipped package or a folder."""
    if task in EXTRA_TASKS or Path(task).is_dir():
        return True
    from edgeharfer.runtime.inference.package import shipped_packages

    return task in {package.path.name for package in shipped_packages()}


def make_task(task: str, backend: Backend = CPU, *, require_signature: Path | None = None) -> Task:
    """Create a task for `Pipeline(extra_tasks=[…])`.

    Args:
        task: One of EXTRA_TASKS, the name of a shipped package, or the folder of a package.
        backend: Where and how the package runs.
        require_signature: File of the public key with which the package must be signed.

    Raises:
        ConfigError: There is no such task or package, or the package is for one of PACKAGE_TASKS.
        ModelError: The package cannot be trusted or run.
        ProviderError: The requested provider cannot be loaded.
    """
    known = f"available: {', '.join(EXTRA_TASKS)}, or the folder of a package"
    if task in PACKAGE_TASKS:
        raise ConfigError(f"task {task!r} cannot be added: choose its package with --{task}; {known}")
    if task in EXTRA_TASKS and not TASKS[task].package:
        made: Task = _load_object(TASKS[task].task)()
        return made
    if not is_addable(task):
        raise ConfigError(f"task {task!r} cannot be added: there is no such task; {known}")
    from edgeharfer.runtime.inference.package import load_package
    from edgeharfer.runtime.tasks.generic import make_generic

    package = load_package(
        TASKS[task].package if task in TASKS else task, require_signature=require_signature
    )
    if package.manifest.task in PACKAGE_TASKS:
        name = package.manifest.task
        raise ConfigError(f"{task} is a package for the task {name}: choose it with --{name}")
    return make_generic(package, backend)


def make_tasks(
    tasks: Iterable[str], backend: Backend = CPU, *, require_signature: Path | None = None
) -> list[Task]:
    """Create each task of a list with `make_task`, ignoring duplicates."""
    return [make_task(task, backend, require_signature=require_signature) for task in dict.fromkeys(tasks)]


def open_model(
    package: Package, backend: Backend, options: Mapping[str, Any] | None = None, task: str = ""
) -> TaskModel:
    """Open the model of a package: the class of its task, or else the class for its inputs.

    Args:
        package: A loaded package, not of a face detector.
        backend: Where and how its graphs run.
        options: Options of the pipeline, of which the model gets those named in `TaskEntry.options`.
        task: Name of the task that uses the model; by default that of the manifest.

    Raises:
        ModelError: See `TaskModel`.
        ProviderError: See `TaskModel`.
    """
    entry = TASKS.get(task or package.manifest.task)
    path = entry.model if entry and entry.model else _MODELS[package.manifest.kind]
    wanted = {key: options[key] for key in entry.options} if entry and options else {}
    model: TaskModel = _load_object(path)(package, backend, **wanted)
    return model


def make_packaged_task(
    name: str, model: TaskModel, runner: ModelRunner, schedule: Schedule, clock: Clock
) -> PackagedTask:
    """Create a task of PACKAGE_TASKS, which runs its model through `runner`."""
    task: PackagedTask = _load_object(TASKS[name].task)(model, runner, schedule, clock)
    return task


def make_added_task(name: str, model: TaskModel) -> Task | None:
    """Create the task of EXTRA_TASKS that runs a model; None if the model is for another task."""
    if name not in EXTRA_TASKS or not TASKS[name].model:
        return None
    task: Task = _load_object(TASKS[name].task)(model)
    return task


def _load_object(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
